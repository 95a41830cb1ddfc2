package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// caller makes calls with its client.
type caller interface {
	// call makes so many calls to a host, one after the other, each within ten seconds.
	call(t testing.TB, host string, n int) tally
}

// tally counts calls by their outcome.
type tally struct {
	Answers map[string]int `json:"answers"` // by the text of the answer
	Errors  map[string]int `json:"errors"`  // by status and text
}

func newTally() tally { return tally{Answers: map[string]int{}, Errors: map[string]int{}} }

func (t tally) add(other tally) {
	for text, n := range other.Answers {
		t.Answers[text] += n
	}
	for text, n := range other.Errors {
		t.Errors[text] += n
	}
}

// by counts the answers of one revision, whose name ends the greeting of `sluice sample`.
func (t tally) by(revision string) int {
	sum := 0
	for text, n := range t.Answers {
		if strings.Contains(text+":", " from "+revision+":") {
			sum += n
		}
	}
	return sum
}

func (t tally) answered() int {
	sum := 0
	for _, n := range t.Answers {
		sum += n
	}
	return sum
}

// failed counts the errors, except those that a client makes by itself.
func (t tally) failed(own *regexp.Regexp) int {
	sum := 0
	for text, n := range t.Errors {
		if own == nil || !own.MatchString(text) {
			sum += n
		}
	}
	return sum
}

// echoMethod and ping are the call that gRPC clients make: google.protobuf.StringValue both ways.
const (
	echoMethod = "/sluice.sample.Echo/Echo"
	ping       = "ping"
)

// bootstrap is the bootstrap that every gRPC client reads.
func bootstrap(server string) string {
	return fmt.Sprintf(`{"xds_servers":[{"server_uri":%q,"channel_creds":[{"type":"insecure"}],"server_features":["xds_v3"]}],`+
		`"node":{"id":"c1","cluster":"mesh","locality":{"region":"r","zone":"z"}}}`, server)
}

// grpcGo is grpc-go in this process, with one channel for each host.
type grpcGo struct {
	server string

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func startGRPCGo(t testing.TB, server, _ string) caller {
	c := &grpcGo{server: server, conns: map[string]*grpc.ClientConn{}}
	t.Cleanup(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
	})
	return c
}

func (c *grpcGo) conn(t testing.TB, host string) *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.conns[host]; conn != nil {
		return conn
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting([]byte(bootstrap(c.server)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+host, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	c.conns[host] = conn
	return conn
}

func (c *grpcGo) call(t testing.TB, host string, n int) tally {
	conn, out := c.conn(t, host), newTally()
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		reply := &wrapperspb.StringValue{}
		err := conn.Invoke(ctx, echoMethod, wrapperspb.String(ping), reply)
		cancel()
		if err != nil {
			out.Errors[err.Error()]++
		} else {
			out.Answers[reply.GetValue()]++
		}
	}
	return out
}

// viaProxy sends HTTP requests to a data plane.
type viaProxy struct {
	address string
	client  http.Client
}

func newViaProxy(address string) caller {
	return &viaProxy{address: address, client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}}
}

func (c *viaProxy) call(t testing.TB, host string, n int) tally {
	out := newTally()
	for range n {
		request, err := http.NewRequest(http.MethodGet, "http://"+c.address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		status, text, err := c.do(request)
		switch {
		case err != nil:
			out.Errors[err.Error()]++
		case status != http.StatusOK:
			out.Errors[fmt.Sprintf("%d %s", status, text)]++
		default:
			out.Answers[text]++
		}
	}
	return out
}

func (c *viaProxy) do(request *http.Request) (int, string, error) {
	response, err := c.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, strings.TrimSpace(string(body)), err
}

// talker is a program that reads one command per line, "call HOST N" or "nacked", and answers each with one line of JSON.
type talker struct {
	name string

	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
	log func() string
}

// startTalker starts a program that reads the server's address from a bootstrap in the environment.
func startTalker(t testing.TB, server, name string, args ...string) *talker {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP_CONFIG="+bootstrap(server), "XDS_SERVER="+server)
	stderr := &lockedBuffer{}
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &talker{name: name, in: in, out: bufio.NewReader(out), log: stderr.String}
	t.Cleanup(func() {
		in.Close() // the end of its commands
		stop := time.AfterFunc(timeout, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		_ = cmd.Wait() // its exit code does not matter
		if t.Failed() {
			t.Logf("errors of %s:\n%s", name, last(stderr.String(), 8<<10))
		}
	})
	return c
}

func (c *talker) call(t testing.TB, host string, n int) tally {
	out := newTally()
	c.order(t, &out, "call %s %d", host, n)
	return out
}

func (c *talker) order(t testing.TB, answer any, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		t.Errorf("%s reads no commands: %v\n%s", c.name, err, c.log())
		return
	}
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, answer)
	}
	if err != nil {
		t.Errorf("%s answers %q to a command: %v\n%s", c.name, line, err, c.log())
	}
}

// lockedBuffer has the output of a program so far.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// stream makes calls without a pause until it is stopped.
type stream struct {
	once    sync.Once
	stopped chan struct{}
	done    chan struct{}
	sum     tally
}

// pour calls a host all the time, in small batches, so that changes come between calls.
func pour(t testing.TB, c caller, host string) *stream {
	s := &stream{stopped: make(chan struct{}), done: make(chan struct{}), sum: newTally()}
	go func() {
		defer close(s.done)
		for {
			select {
			case <-s.stopped:
				return
			default:
				s.sum.add(c.call(t, host, 10))
			}
		}
	}()
	t.Cleanup(func() { s.stop() }) // if the test fails before
	return s
}

func (s *stream) stop() tally {
	s.once.Do(func() { close(s.stopped) })
	<-s.done
	return s.sum
}
