package http

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/test/address"
)

// request is a request that the application has received: its raw head, its body without framing, and its trailers.
type request struct {
	head, body, trailers string
}

// has reports whether the head has a line. The case of a header's name does not matter.
func (r *request) has(line string) bool { return hasLine(r.head, line) }

func hasLine(head, line string) bool {
	for got := range strings.SplitSeq(head, "\r\n") {
		name, value, isHeader := strings.Cut(line, ":")
		gotName, gotValue, _ := strings.Cut(got, ":")
		if got == line || isHeader && strings.EqualFold(name, gotName) &&
			(value == "" || strings.TrimSpace(value) == strings.TrimSpace(gotValue)) {
			return true
		}
	}
	return false
}

// app is an application that implements HTTP/1.1 itself.
type app struct {
	// Set once.
	address string
	extra   []string // header lines that the hop needs in each request

	mu sync.Mutex
	// Guarded by mu.
	seen  []*appConn
	serve func(c *appConn)
	row   int
	busy  map[net.Conn]struct{} // connections with a request in progress
}

// appConn is one request at the application, which may read its body at any time.
type appConn struct {
	net.Conn
	app    *app
	reader *bufio.Reader
	request
	failed error // why the connection has ended
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func startApp(t testing.TB) *app {
	ln, err := net.Listen("tcp", address.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	a := &app{address: ln.Addr().String(), busy: map[net.Conn]struct{}{}}
	a.expect(nil)
	t.Cleanup(func() { ln.Close(); a.cut() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go a.run(conn)
		}
	}()
	return a
}

// rowHeader is the header of each request with the number of its row.
const rowHeader = "X-Row: "

// mark adds the number of the current row to requests.
func (a *app) mark(text string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := rowHeader + strconv.Itoa(a.row) + "\r\n"
	for _, l := range a.extra {
		line += l + "\r\n"
	}
	return strings.NewReplacer(" HTTP/1.1\r\n", " HTTP/1.1\r\n"+line, " HTTP/1.0\r\n", " HTTP/1.0\r\n"+line).Replace(text)
}

// number returns the number of the current row.
func (a *app) number() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strconv.Itoa(a.row)
}

// expect begins a row: serve answers a request whose head has been read; nil reads all of it and answers 200.
func (a *app) expect(serve func(c *appConn)) {
	if serve == nil {
		serve = func(c *appConn) { c.answer(okay) }
	}
	a.mu.Lock()
	a.seen, a.serve = nil, serve
	a.row++
	a.mu.Unlock()
}

// cut closes connections with requests in progress. Idle ones stay: a hop would not notice the end before it uses one again.
func (a *app) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for conn := range a.busy {
		conn.Close()
	}
}

// got returns the requests since expect.
func (a *app) got() (all []request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.seen {
		all = append(all, c.request)
	}
	return all
}

func (a *app) run(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		head, err := readHead(r)
		if err != nil {
			return
		}
		c := &appConn{Conn: conn, app: a, reader: r, request: request{head: head}}
		a.mu.Lock()
		serve := a.serve
		if c.has(strings.TrimSpace(rowHeader)) && !c.has(rowHeader+strconv.Itoa(a.row)) {
			a.mu.Unlock()
			return // a request of an earlier row, which the hop had sent before it gave up
		}
		a.seen = append(a.seen, c)
		a.busy[conn] = struct{}{}
		a.mu.Unlock()
		serve(c)
		a.mu.Lock()
		delete(a.busy, conn)
		a.mu.Unlock()
		if c.failed != nil {
			return
		}
	}
}

func readHead(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" {
			return head.String(), nil
		}
		head.WriteString(line)
	}
}

// answer reads the body and writes an answer.
func (c *appConn) answer(text string) {
	c.readBody()
	if c.failed == nil {
		c.write(text)
	}
}

func (c *appConn) write(text string) {
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.failed = err
	}
}

// hangUp closes the connection.
func (c *appConn) hangUp() {
	c.failed = io.EOF
	c.Close()
}

func (c *appConn) readBody() {
	var r request
	switch {
	case c.has("Transfer-Encoding: chunked"):
		var body []byte
		body, r.trailers, c.failed = readChunks(c.reader)
		r.body = string(body)
	case c.has("Content-Length:"):
		_, rest, _ := strings.Cut(c.head, "\r\n")
		h, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(rest + "\r\n"))).ReadMIMEHeader()
		n, _ := strconv.Atoi(h.Get("Content-Length"))
		body := make([]byte, n)
		n, c.failed = io.ReadFull(c.reader, body)
		r.body = string(body[:n])
	}
	c.app.mu.Lock()
	defer c.app.mu.Unlock()
	c.body, c.trailers = r.body, r.trailers
}

func readChunks(r *bufio.Reader) (body []byte, trailers string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return body, "", err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return body, "", err
		}
		if size == 0 {
			trailers, err = readHead(r)
			return body, trailers, err
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return body, "", err
		}
		body = append(body, bytes.TrimSuffix(chunk, []byte("\r\n"))...)
	}
}
