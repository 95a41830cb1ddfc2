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
)

// request is one that the application has received: its head as it came, its body without framing, and its trailers.
type request struct {
	head, body, trailers string
}

// has is whether the head has a line, whatever the case of a header's name.
func (r *request) has(line string) bool { return hasLine(r.head, line) }

func hasLine(head, line string) bool {
	for got := range strings.SplitSeq(head, "\r\n") {
		name, value, isHeader := strings.Cut(line, ":")
		gotName, gotValue, _ := strings.Cut(got, ":")
		if got == line || isHeader && strings.EqualFold(name, gotName) && (value == "" || strings.TrimSpace(value) == strings.TrimSpace(gotValue)) {
			return true
		}
	}
	return false
}

// app is an application that speaks HTTP/1.1 by hand.
type app struct {
	address string

	mu    sync.Mutex
	seen  []*appConn
	serve func(c *appConn)
	row   int
	extra []string              // lines of the head that requests to the hop have, or it would not know what they are for
	busy  map[net.Conn]struct{} // connections with a request in them
}

// appConn is one request at the application, whose body it reads when it likes.
type appConn struct {
	net.Conn
	app    *app
	reader *bufio.Reader
	request
	failed error // what ends the connection
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func startApp(t testing.TB) *app {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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

// rowHeader is in each request of a row, with its number.
const rowHeader = "X-Row: "

// mark puts the number of the current row into requests.
func (a *app) mark(text string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := rowHeader + strconv.Itoa(a.row) + "\r\n"
	for _, l := range a.extra {
		line += l + "\r\n"
	}
	return strings.NewReplacer(" HTTP/1.1\r\n", " HTTP/1.1\r\n"+line, " HTTP/1.0\r\n", " HTTP/1.0\r\n"+line).Replace(text)
}

// number is that of the current row.
func (a *app) number() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strconv.Itoa(a.row)
}

// expect begins a row: serve answers a request whose head has come; nil reads all of it and answers 200.
func (a *app) expect(serve func(c *appConn)) {
	if serve == nil {
		serve = func(c *appConn) { c.answer(okay) }
	}
	a.mu.Lock()
	a.seen, a.serve = nil, serve
	a.row++
	a.mu.Unlock()
}

// cut ends what is still being served. Connections that are idle stay: no hop can know that one is closed before it is used.
func (a *app) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for conn := range a.busy {
		conn.Close()
	}
}

// got is what has been received since expect.
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
			return // of a row before, which a hop has sent before it gave it up
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
