// Package hop has the tests that each of our servers in the request path must pass. They use raw sockets: the client and the
// application control every byte that they send to the server under test.
package hop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// timeout bounds every wait of a test.
const timeout = 2 * time.Minute

// Start starts the server under test in front of an application at host:port app. It returns the server's address, and the header
// lines that a request to the application must have, each with its line break.
type Start func(t testing.TB, app string) (address, headers string)

// App is an application.
type App struct {
	Address string

	mu   sync.Mutex
	seen []string
	open map[net.Conn]bool // nil after the end
}

// Answer answers a request, whose body it may read. The connection is closed unless it returns true.
type Answer func(conn net.Conn, r *http.Request) (keep bool)

// NewApp serves until the end of the test.
func NewApp(t testing.TB, answer Answer) *App {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &App{Address: ln.Addr().String(), open: map[net.Conn]bool{}}
	var conns sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		a.end()
		conns.Wait()
	})
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if !a.take(conn) {
				continue
			}
			conns.Go(func() {
				defer a.leave(conn)
				a.serve(conn, answer)
			})
		}
	})
	return a
}

func (a *App) serve(conn net.Conn, answer Answer) {
	for in := bufio.NewReader(conn); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		a.note(r.Method + " " + r.RequestURI)
		if !answer(conn, r) {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body) // otherwise the rest of it would be parsed as the next request
	}
}

func (a *App) take(conn net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		_ = conn.Close()
		return false
	}
	a.open[conn] = true
	return true
}

func (a *App) leave(conn net.Conn) {
	_ = conn.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, conn)
}

func (a *App) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for conn := range a.open {
		_ = conn.Close()
	}
	a.open = nil
}

func (a *App) note(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, what)
}

// Seen returns the methods and targets of the requests that the application has received.
func (a *App) Seen() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.seen...)
}

// Says returns an Answer that reads the body of each request and answers with these bytes.
func Says(text string) Answer {
	return func(conn net.Conn, r *http.Request) bool {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			_, err = io.WriteString(conn, text)
		}
		return err == nil
	}
}

// Client is a connection to the server under test.
type Client struct {
	testing.TB
	net.Conn
	In      *bufio.Reader
	headers string
}

// Dial connects.
func Dial(t testing.TB, address, headers string) *Client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(timeout)) // cannot fail on TCP
	return &Client{TB: t, Conn: conn, In: bufio.NewReader(conn), headers: headers}
}

// Send sends text, with the headers that the server needs in the place of "{}".
func (c *Client) Send(text string) {
	c.Helper()
	if _, err := io.WriteString(c.Conn, strings.Replace(text, "{}", c.headers, 1)); err != nil {
		c.Fatalf("sending: %v", err)
	}
}

// Reply is a response with its body; it may be an informational one.
type Reply struct {
	*http.Response
	Text string
}

// Next reads the next response to a request of the method.
func (c *Client) Next(method string) Reply {
	c.Helper()
	response, err := http.ReadResponse(c.In, &http.Request{Method: method})
	if err != nil {
		c.Fatalf("no answer: %v", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < http.StatusOK {
		return Reply{response, ""}
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatalf("the answer %d ends after %q: %v", response.StatusCode, body, err)
	}
	return Reply{response, string(body)}
}

// Want reads the next response, which must have the status.
func (c *Client) Want(method string, status int) Reply {
	c.Helper()
	reply := c.Next(method)
	if reply.StatusCode != status {
		c.Fatalf("got %d %v %q, want %d", reply.StatusCode, reply.Header, reply.Text, status)
	}
	return reply
}

// WantEnd waits until the server closes the connection. The server must send nothing before that.
func (c *Client) WantEnd() {
	c.Helper()
	rest, err := io.ReadAll(c.In)
	if netErr, ok := err.(net.Error); ok && netErr.Timeout() { //nolint:errorlint // a connection does not wrap its errors
		c.Fatal("the server keeps the connection open")
	}
	if len(rest) > 0 {
		c.Fatalf("the server sends %q before it closes the connection", rest)
	}
}

// closed waits until the other side closes a connection.
func closed(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func text(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
