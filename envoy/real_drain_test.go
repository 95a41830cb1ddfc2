package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answer is what came of a request.
type answer struct {
	status int
	body   string
	closes bool // its connection is to be closed
	err    error
}

func (r *real) answer(client *http.Client, path string) answer {
	response, body, err := r.get(client, path)
	if err != nil {
		return answer{err: err}
	}
	return answer{response.StatusCode, body, response.Close, nil}
}

// held is an application that reports requests, and answers them when the test says so.
func held() (h http.HandlerFunc, asked, finish chan struct{}) {
	asked, finish = make(chan struct{}, 10), make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			asked <- struct{}{}
			<-finish
		}
		_, _ = io.WriteString(w, "finished")
	}, asked, finish
}

// A request is in progress from its beginning, even if it has just begun when Envoy is asked to end.
func TestRealEnvoyFinishesARequestThatHasJustBegun(t *testing.T) {
	t.Parallel()
	application, asked, finish := held()
	r := startReal(t, setting{application: application})
	answers := make(chan answer, 1)
	go func() { answers <- r.answer(newClient(t), "/held") }()
	<-asked
	r.cancel()
	r.awaitAsked()
	close(finish)
	if a := <-answers; a != (answer{200, "finished", true, nil}) {
		t.Errorf("got %+v, want it answered as the last one on its connection", a)
	}
}

// Nothing is in progress on an idle connection, so that the drain does not wait for it.
func TestIdleConnectionsDoNotDelayRealEnvoy(t *testing.T) {
	t.Parallel()
	r := startReal(t, setting{application: hello, drain: 20 * time.Second})
	client := newClient(t)
	if a := r.answer(client, "/"); a.status != 200 || a.closes {
		t.Fatalf("got %+v, want an answer on a connection that is kept", a)
	}
	await(t, "Envoy counts the connection", func() bool { return r.stat("server.total_connections") == 1 })
	r.cancel()
	err := <-r.ended
	r.ended <- err
	if strings.Contains(r.log.String(), "were cut off") {
		t.Errorf("the drain waited for an idle connection:\n%s", r.log)
	}
}

// A request that comes on a kept connection while others finish is answered, and the answer closes the connection.
func TestRealEnvoyAnswersOnKeptConnectionsWhileItDrains(t *testing.T) {
	t.Parallel()
	application, asked, finish := held()
	r := startReal(t, setting{application: application})
	kept := newClient(t)
	if a := r.answer(kept, "/"); a.status != 200 || a.closes {
		t.Fatalf("got %+v, want an answer on a connection that is kept", a)
	}
	answers := make(chan answer, 1)
	go func() { answers <- r.answer(newClient(t), "/held") }()
	<-asked
	r.cancel()
	r.awaitAsked()
	if a := r.answer(kept, "/"); a != (answer{200, "finished", true, nil}) {
		t.Errorf("got %+v, want it answered as the last one on its connection", a)
	}
	close(finish)
	if a := <-answers; a.err != nil || a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

// buffered are the bytes of responses that wait for their clients.
const buffered = "http.http.downstream_cx_tx_bytes_buffered"

// A response is in progress until the client has taken it, though for Envoy the request is over when it has all of the response.
func TestRealEnvoyFinishesAResponseForASlowClient(t *testing.T) {
	t.Parallel()
	var r *real
	sent := make(chan int, 1)
	r = startReal(t, setting{application: func(w http.ResponseWriter, _ *http.Request) {
		size := 0
		// Until the client's kernel and ours are full, and the rest waits in Envoy, which has room for 1 MiB.
		for r.stat(buffered) < 256<<10 {
			n, _ := w.Write(make([]byte, 64<<10))
			_ = http.NewResponseController(w).Flush()
			size += n
		}
		sent <- size
	}})
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	conn, err := dialer.Dial("tcp", r.gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	want := <-sent
	await(t, "the request is over for Envoy", func() bool { return r.stat("http.http.downstream_rq_active") == 0 })
	if r.stat(buffered) == 0 {
		t.Fatal("nothing waits in Envoy for the client to take it")
	}
	r.cancel()
	r.awaitAsked()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n != int64(want) {
		t.Errorf("got %d bytes, %v; want %d", n, err, want)
	}
}

// awaitAsked waits until the supervisor has looked often enough to have found Envoy idle, or has ended it.
func (r *real) awaitAsked() {
	r.t.Helper()
	r.awaitClosed()
	const looks = 20
	before, own := r.stat("http.admin.downstream_rq_total"), 0
	await(r.t, "the supervisor asks for requests in progress", func() bool {
		now := r.stat("http.admin.downstream_rq_total")
		own++
		return now < 0 || now-before-own >= looks
	})
}

// stat is a figure of Envoy's; -1 if there is none.
func (r *real) stat(name string) int {
	text, err := r.ask(http.MethodGet, "/stats?filter=^"+name+"$")
	if err != nil {
		return -1
	}
	_, value, _ := strings.Cut(strings.TrimSpace(text), ": ")
	n, err := strconv.Atoi(value)
	if err != nil {
		return -1
	}
	return n
}

// A WebSocket's stream is a request in progress.
func TestUpgradedStreamsGoOnWhileRealEnvoyDrains(t *testing.T) {
	t.Parallel()
	r := startReal(t, setting{application: echo})
	conn := r.send("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	defer conn.Close()
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v", response, err)
	}
	r.cancel()
	r.awaitAsked()
	for i := range 3 {
		said := fmt.Sprintln("line", i)
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
		if heard, err := reader.ReadString('\n'); err != nil || heard != said {
			t.Fatalf("got %q, %v, want %q", heard, err, said)
		}
	}
}

// echo is an application that switches protocols and says what it hears.
func echo(w http.ResponseWriter, _ *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		return
	}
	_, _ = io.Copy(conn, buffered)
}

// send sends a request and leaves the rest to the caller.
func (r *real) send(request string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.gateway)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	return conn
}
