package feature

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// shot is one request and its outcome.
type shot struct {
	id           string
	method       string
	began, ended time.Time // it begins with its connection
	status       int
	reason       string // Sluice-Reason, Envoy's response flags, or the text of Envoy's own response
	err          error  // of the connection; nil when there was a whole response
	fresh        bool   // the first request on its connection
}

func (s shot) failed() bool { return s.err != nil || s.status != http.StatusOK }

func (s shot) String() string {
	return fmt.Sprintf("%s %s at %s for %v: status %d %s, %v, fresh %t",
		s.method, s.id, s.began.Format("05.000"), s.ended.Sub(s.began).Round(time.Millisecond), s.status, s.reason, s.err, s.fresh)
}

// salvo is a load in which each request has an id, over connections that repeat nothing. Half of the requests are POSTs.
type salvo struct {
	address, host, query string
	headers              map[string]string
	tag                  string // begins the ids

	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	shots []shot
}

func (s *instance) startSalvo(host, query string, connections int) *salvo {
	l := &salvo{address: s.gateway, host: host, query: query}
	l.begin(connections)
	return l
}

func (l *salvo) begin(connections int) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for i := range connections {
		l.done.Go(func() { l.fire(ctx, i) })
	}
}

// fire sends one request after the other. If it cannot connect, it tries again: no process has received that request.
func (l *salvo) fire(ctx context.Context, worker int) {
	var conn net.Conn
	var in *bufio.Reader
	fresh := false
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		if conn != nil && closed(conn) {
			conn.Close()
			conn = nil
		}
		for conn == nil {
			var err error
			if conn, err = net.Dial("tcp", l.address); err == nil {
				in, fresh = bufio.NewReader(conn), true
				break
			}
			if ctx.Err() != nil {
				return
			}
			time.Sleep(2 * time.Millisecond)
			began = time.Now()
		}
		s := shot{began: began, fresh: fresh, id: fmt.Sprintf("%s%d-%d", l.tag, worker, n), method: http.MethodGet}
		if n%2 == 1 {
			s.method = http.MethodPost
		}
		fresh = false
		if keep := l.exchange(&s, conn, in); !keep {
			conn.Close()
			conn = nil
		}
		l.mu.Lock()
		l.shots = append(l.shots, s)
		l.mu.Unlock()
		time.Sleep(pace)
	}
}

// closed reports whether the other side has closed a connection between two requests. It is called right before a request: a process
// that ends after the call ends with the request in it.
func closed(conn net.Conn) bool {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = n > 0 || err == nil || !errors.Is(err, syscall.EAGAIN) // a connection with unexpected bytes cannot be used either
		return true
	})
	return closed || err != nil
}

func (l *salvo) exchange(s *shot, conn net.Conn, in *bufio.Reader) (keep bool) {
	defer func() { s.ended = time.Now() }()
	body := io.Reader(nil)
	if s.method == http.MethodPost {
		body = strings.NewReader(s.id)
	}
	request, err := http.NewRequest(s.method, "http://"+l.host+"/?id="+s.id+l.query, body)
	if err != nil {
		panic(err)
	}
	for name, value := range l.headers {
		request.Header.Set(name, value)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if s.err = request.Write(conn); s.err != nil {
		return false
	}
	response, err := http.ReadResponse(in, request)
	if err != nil {
		s.err = err
		return false
	}
	defer response.Body.Close()
	s.status = response.StatusCode
	s.reason = response.Header.Get("Sluice-Reason") + response.Header.Get("X-Envoy-Response-Flags")
	var text []byte
	text, s.err = io.ReadAll(response.Body)
	if s.reason == "" && strings.HasPrefix(string(text), "upstream connect error") {
		s.reason = string(text) // Envoy's own text
	}
	return s.err == nil && !response.Close
}

// stop ends the load after the requests in flight.
func (l *salvo) stop() []shot {
	l.cancel()
	l.done.Wait()
	return l.shots
}

// journal has the pids of the app's processes that began each request, and of those that ended it.
type journal struct{ began, ended map[string][]int }

func readJournal(t testing.TB, folder string) journal {
	t.Helper()
	j := journal{map[string][]int{}, map[string][]int{}}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		pid, err := strconv.Atoi(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			id := strings.TrimSpace(line[1:])
			switch line[0] {
			case '+':
				j.began[id] = append(j.began[id], pid)
			case '-':
				j.ended[id] = append(j.ended[id], pid)
			}
		}
	}
	return j
}
