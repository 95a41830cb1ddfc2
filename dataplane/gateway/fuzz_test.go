package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// message is a request as one side of the gateway understands it, without what a proxy may change.
type message struct{ method, target, body string }

var errFraming = errors.New("no request of HTTP/1.1")

// readMessage reads a request by RFC 9112, and rejects one that can be read in two ways. It shares no code with the gateway.
func readMessage(r *bufio.Reader) (m message, from string, err error) {
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return message{}, "", err
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if len(lines) == 0 {
			line = strings.TrimLeft(line, "\r") // may stand before a request, as empty lines may
		}
		if line == "" && len(lines) == 0 {
			continue
		}
		if line == "" {
			break
		}
		lines = append(lines, line)
		if value, ok := strings.CutPrefix(line, "X-Forwarded-For: "); ok {
			from = value[strings.LastIndexByte(value, ',')+1:]
		}
	}
	first := strings.Split(lines[0], " ")
	if len(first) != 3 || !strings.HasPrefix(first[2], "HTTP/1.") {
		return message{}, from, errFraming
	}
	body, err := readFramed(r, lines[1:], first[2] == "HTTP/1.0")
	target := first[1]
	if _, rest, ok := strings.Cut(target, "://"); ok && target[0] != '/' { // an application gets no absolute one
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			target = "/" + strings.TrimPrefix(rest[i:], "/")
		} else {
			target = "/"
		}
	}
	return message{first[0], slashesEscaped(target), body}, from, err
}

// slashesEscaped is a target with its path as net/url writes it, if that begins with two slashes: the gateway cannot pass such a path unchanged
// (docs/http.md).
func slashesEscaped(target string) string {
	path, query, asked := strings.Cut(target, "?")
	plain, err := url.PathUnescape(path)
	if !strings.HasPrefix(path, "//") || err != nil {
		return target
	}
	path = (&url.URL{Path: plain}).EscapedPath()
	if asked {
		path += "?" + query
	}
	return path
}

func readFramed(r *bufio.Reader, fields []string, old bool) (string, error) {
	lengths, codings, length := 0, 0, 0
	for _, field := range fields {
		name, value, ok := strings.Cut(field, ":")
		value = strings.Trim(value, " \t")
		var err error
		switch {
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			return "", errFraming
		case strings.EqualFold(name, "Content-Length"):
			lengths++
			if length, err = strconv.Atoi(value); err != nil || strings.Trim(value, "0123456789") != "" {
				return "", errFraming
			}
		case strings.EqualFold(name, "Transfer-Encoding"):
			if codings++; !strings.EqualFold(value, "chunked") {
				return "", errFraming
			}
		}
	}
	switch {
	case lengths+codings > 1, codings > 0 && old:
		return "", errFraming
	case codings > 0:
		return readChunked(r)
	}
	var body bytes.Buffer
	_, err := io.CopyN(&body, r, int64(length))
	return body.String(), err
}

func readChunked(r *bufio.Reader) (string, error) {
	var body bytes.Buffer
	line := func() (string, error) {
		text, err := r.ReadString('\n')
		if err == nil && !strings.HasSuffix(text, "\r\n") {
			err = errFraming
		}
		return strings.TrimSuffix(text, "\r\n"), err
	}
	for {
		text, err := line()
		if err != nil {
			return "", err
		}
		digits, _, _ := strings.Cut(text, ";")
		digits = strings.TrimRight(digits, " \t")
		size, err := strconv.ParseUint(digits, 16, 62)
		if err != nil || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
			return "", errFraming
		}
		if size == 0 {
			break
		}
		if _, err := io.CopyN(&body, r, int64(size)); err != nil {
			return "", err
		}
		if text, err := line(); err != nil || text != "" {
			return "", cmpErr(err)
		}
	}
	for {
		text, err := line()
		if err != nil || text == "" {
			return body.String(), err
		}
	}
}

func cmpErr(err error) error {
	if err == nil {
		return errFraming
	}
	return err
}

// understoodIn are the requests in the input, up to the first bytes that are none.
func understoodIn(input []byte) (all []message) {
	for r := bufio.NewReader(bytes.NewReader(input)); ; {
		m, _, err := readMessage(r)
		if err != nil {
			return all
		}
		all = append(all, m)
	}
}

// recording is an application that records the requests that it has read completely.
type recording struct {
	address string
	mu      sync.Mutex
	seen    map[string][]message // by the address of the client
	broken  map[string]error     // what it could not read
}

func record(t testing.TB) *recording {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	l := &recording{address: ln.Addr().String(), seen: map[string][]message{}, broken: map[string]error{}}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return l
}

func (l *recording) serve(conn net.Conn) {
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		m, from, err := readMessage(r)
		l.mu.Lock()
		if err == nil {
			l.seen[from] = append(l.seen[from], m)
		} else if errors.Is(err, errFraming) {
			l.broken[from] = err
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// take returns the requests of a client.
func (l *recording) take(from string) ([]message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, err := l.seen[from], l.broken[from]
	delete(l.seen, from)
	return seen, err
}

// FuzzFraming sends bytes to the gateway. The application may get only requests that are in them, in order and with their bodies. The
// gateway may refuse some, but must not find another.
func FuzzFraming(f *testing.F) {
	if runtime.GOOS != "linux" {
		f.Skip("clients have addresses of their own on loopback")
	}
	const post, next = "POST /a HTTP/1.1\r\nHost: h\r\n", "GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, head := range []string{"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
		"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
		"Transfer-Encoding:\r\n chunked\r\n", "Content-Length: 5\r\nContent-Length: 0\r\n", "Expect: 100-continue\r\nContent-Length: 5\r\n",
		"Connection: Upgrade\r\nUpgrade: websocket\r\n", "Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X\r\n"} {
		for _, body := range []string{
			"hello", "5\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n",
			"0\r\nX: y\r\n\r\n", "0\r\n\r\n",
		} {
			f.Add([]byte(post + head + "\r\n" + body + next))
		}
	}
	b := start(f, Options{})
	app := record(f)
	b.push(all(one(plain(f)), backend(f, "c", app.address), one(routes(f, vhost("h", "*", to(prefix("/"), "c")))))...)
	address := b.address("http")
	var clients atomic.Uint32
	f.Fuzz(func(t *testing.T, input []byte) {
		// Each input has an address of its own, so that late bytes of another do not count for it.
		n := clients.Add(1)
		from := net.IPv4(127, 1+byte(n>>16)%200, byte(n>>8), byte(n))
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(input) // the gateway may have closed the connection
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(waitLimit))
		_, _ = io.Copy(io.Discard, conn)
		got, broken := app.take(from.String())
		if broken != nil {
			t.Errorf("the gateway has sent %v for %q", broken, input)
		}
		want := understoodIn(input)
		for _, m := range got {
			i := slices.Index(want, m)
			if i < 0 {
				t.Fatalf("the application has got %q, of %q, which has %q", m, input, want)
			}
			want = want[i+1:]
		}
	})
}
