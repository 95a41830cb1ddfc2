package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/model"
)

// part is a process that answers requests with its name.
type part struct {
	model.Endpoint
	cmd    *exec.Cmd
	exited chan struct{}
}

// start runs the test binary in a role. The process prints where it listens.
func start(t testing.TB, role string, args ...string) *part {
	t.Helper()
	p := &part{cmd: exec.Command(os.Args[0], args...), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%s does not print where it listens: %v", role, err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	at := netip.MustParseAddrPort(strings.TrimSpace(line))
	p.Endpoint = model.Endpoint{Host: at.Addr().String(), Port: int(at.Port())}
	return p
}

func (p *part) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

func (p *part) freeze(t *testing.T) { p.signal(t, syscall.SIGSTOP) }

func (p *part) signal(t *testing.T, s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// play is the main function of a role.
func play(role string) {
	switch role {
	case "server":
		serveName(os.Args[1], 0)
	case "activate":
		activate(os.Args[1])
	case "impatient":
		idle, _ := time.ParseDuration(os.Args[2])
		serveName(os.Args[1], idle)
	default:
		fmt.Fprintf(os.Stderr, "there is no role %q\n", role)
		os.Exit(2)
	}
}

// activate runs an activator.
func activate(xds string) {
	a, err := activator.New(activator.Options{XDS: xds, NodeID: fmt.Sprint("activator-", os.Getpid()), Listen: "127.0.0.1:0"})
	if err != nil {
		panic(err)
	}
	fmt.Println(a.Address())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := a.Run(ctx); err != nil {
		panic(err)
	}
}

// serveName reads every request and answers with a name. It closes connections that have been idle for so long.
func serveName(name string, idle time.Duration) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, IdleTimeout: idle, ReadHeaderTimeout: time.Minute, Handler: &server{name: name}}
	_ = server.Serve(l)
}

// server answers requests.
type server struct {
	name string
	gate sync.Map // channels by name, which a request for /open/NAME closes
}

func (s *server) waitFor(name string) chan struct{} {
	c, _ := s.gate.LoadOrStore(name, make(chan struct{}))
	return c.(chan struct{})
}

// ServeHTTP answers with the name, and /stream/GATE with the name once more when the gate opens. It never answers /never, and it echoes
// on an upgraded connection.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	what, gate, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Header.Get("Upgrade") != "":
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffer)
		return
	case what == "never":
		<-r.Context().Done()
		return
	case what == "open":
		close(s.waitFor(gate))
	case what == "stream":
		_, _ = io.WriteString(w, s.name)
		_ = http.NewResponseController(w).Flush()
		<-s.waitFor(gate)
	}
	_, _ = io.WriteString(w, s.name)
}
