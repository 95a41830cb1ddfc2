package hop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// understood is one request as a side of a hop understood it. Run is the input that it is of, empty where that was lost.
type understood struct{ method, target, body, run string }

// matches is whether it may have become other on its way: a target that is no path is written anew, and of a path that begins with two
// slashes, or has a space, some characters are escaped (see docs/http.md).
func (u understood) matches(other understood) bool {
	if u.method != other.method || u.body != other.body || u.run != other.run {
		return false
	}
	if strings.HasPrefix(u.target, "//") || strings.Contains(u.target, " ") {
		return unescaped(u.target) == unescaped(other.target)
	}
	return u.target == other.target || !strings.HasPrefix(u.target, "/")
}

// unescaped is a target without its escapes, as far as they are some.
func unescaped(target string) string {
	path, query, _ := strings.Cut(target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	return path + "?" + query
}

// within is whether all of got are among want, in the same order.
func within(got, want []understood) bool {
	for _, w := range want {
		if len(got) > 0 && w.matches(got[0]) {
			got = got[1:]
		}
	}
	return len(got) == 0
}

// The headers in which a mirror says what it understood.
const (
	mirrorTarget = "X-Mirror-Target"
	mirrorBody   = "X-Mirror-Body"
	mirrorMethod = "X-Mirror-Method"
	runHeader    = "X-Run" // of requests too: which input they are of
)

// mirror is an application that notes, and answers, what it understands.
type mirror struct {
	mu   sync.Mutex
	seen []understood
}

func (m *mirror) answer(conn net.Conn, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false
	}
	m.mu.Lock()
	m.seen = append(m.seen, understood{r.Method, r.RequestURI, string(body), r.Header.Get(runHeader)})
	m.mu.Unlock()
	_, err = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s: %q\r\n%s: %q\r\n%s: %q\r\n%s: %q\r\nContent-Length: 0\r\n\r\n",
		mirrorMethod, r.Method, mirrorTarget, r.RequestURI, mirrorBody, body, runHeader, r.Header.Get(runHeader))
	return err == nil
}

// take gives what was understood since the last time.
func (m *mirror) take() []understood {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen
	m.seen = nil
	return seen
}

// seeds are what fuzzing begins with, beside the corpus that is kept in testdata/fuzz.
func seeds(f *testing.F) {
	for _, request := range Malformed {
		f.Add([]byte(request + Behind + "{}\r\n"))
	}
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\n{}Content-Length: 3\r\n\r\nabc",
		"POST /a HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: h\r\n{}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"GET / HTTP/1.0\r\nHost: h\r\n{}Connection: keep-alive\r\n\r\n",
		"GET http://h/a?b#c HTTP/1.1\r\nHost: h\r\n{}Connection: close, X-A\r\nX-A: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		f.Add([]byte(request + Behind + "{}\r\n"))
	}
}

// Fuzz sends bytes to the server, as a client that then ends its side, and compares what the two sides of the hop understood: the
// application may get only what a strict reader finds in the bytes, in the same order, and the client only answers to that.
func Fuzz(f *testing.F, start Start) {
	seeds(f)
	app := &mirror{}
	address, headers := start(f, NewApp(f, app.answer).Address)
	run := 0
	f.Fuzz(func(t *testing.T, input []byte) {
		if bytes.Contains(input, []byte("PRI ")) {
			t.Skip("HTTP/2")
		}
		run++
		tag := strconv.Itoa(run)
		input = bytes.ReplaceAll(input, []byte("{}"), []byte(headers+runHeader+": "+tag+"\r\n"))
		want := reference(input)
		answers := converse(t, address, input)
		// A client that has ended its side may be gone before the application has looked: what that gets is of an input before.
		got := slices.DeleteFunc(app.take(), func(u understood) bool { return u.run != tag })
		if !within(got, want) {
			t.Errorf("of %q\nthe application understood %q\nand a strict reader        %q", input, got, want)
		}
		if !within(answers, want) {
			t.Errorf("to %q\nthe client got the answers %q\nand asked                  %q", input, answers, want)
		}
	})
}

// attention is how long a client waits for an answer before it ends its side. Some servers look at nothing more then.
const attention = 2 * time.Millisecond

// converse sends the input, and gives what the application's answers are to, until the server ends the connection.
func converse(t *testing.T, address string, input []byte) (answers []understood) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(input); err != nil {
		return nil // the server has seen enough
	}
	ended := false
	for in := bufio.NewReader(conn); ; {
		if !ended {
			_ = conn.SetReadDeadline(time.Now().Add(attention)) // a connection of TCP can
			if _, err := in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
				ended = true
				_ = conn.(*net.TCPConn).CloseWrite() // the server may have closed it
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience)) // likewise
		response, err := http.ReadResponse(in, nil)        //nolint:bodyclose // closing would read on to the end of an answer to HEAD
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the connection is kept after %q", input)
			}
			return answers
		}
		_, _ = io.Copy(io.Discard, response.Body) // an answer to HEAD may be followed by another one
		if response.Header.Get(mirrorMethod) != "" {
			answers = append(answers, understood{quoted(response, mirrorMethod), quoted(response, mirrorTarget), quoted(response, mirrorBody), quoted(response, runHeader)})
		}
	}
}

func quoted(r *http.Response, name string) string {
	text, err := strconv.Unquote(r.Header.Get(name))
	if err != nil {
		return err.Error()
	}
	return text
}

// reference is what a strict reader finds in a client's bytes, up to what is malformed. It is strict in what decides where a request
// ends; for the rest of a head net/http is asked.
func reference(input []byte) (requests []understood) {
	for {
		input = bytes.TrimLeft(input, "\r\n") // what may precede a request
		counted := bytes.NewReader(input)
		in := bufio.NewReader(counted)
		r, err := http.ReadRequest(in)
		if err != nil {
			return requests
		}
		n := len(input) - counted.Len() - in.Buffered()
		head, rest := input[:n], input[n:]
		body, rest, ok := referenceBody(r, head, rest)
		if !ok {
			return requests
		}
		requests = append(requests, understood{r.Method, r.RequestURI, body, r.Header.Get(runHeader)})
		input = rest
	}
}

func referenceBody(r *http.Request, head, rest []byte) (body string, behind []byte, ok bool) {
	lengths, codings := 0, 0
	for line := range bytes.Lines(head) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "content-length":
			lengths++
		case "transfer-encoding":
			codings++
		}
	}
	switch {
	case lengths+codings > 1, codings > 0 && !r.ProtoAtLeast(1, 1):
		return "", nil, false
	case codings > 0:
		return referenceChunks(rest)
	case r.ContentLength > int64(len(rest)):
		return "", nil, false
	}
	return string(rest[:r.ContentLength]), rest[r.ContentLength:], true
}

func referenceChunks(rest []byte) (body string, behind []byte, ok bool) {
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok || bytes.IndexByte(line, '\n') >= 0 {
			return "", nil, false
		}
		digits, _, _ := strings.Cut(string(line), ";")
		size, err := strconv.ParseUint(strings.TrimRight(digits, " \t"), 16, 63)
		if err != nil {
			return "", nil, false
		}
		if size == 0 {
			rest = after
			break
		}
		if uint64(len(after)) < size+2 || string(after[size:size+2]) != "\r\n" {
			return "", nil, false
		}
		body += string(after[:size])
		rest = after[size+2:]
	}
	for {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok || bytes.IndexByte(line, '\n') >= 0 {
			return "", nil, false
		}
		if rest = after; len(line) == 0 {
			return body, rest, true
		}
	}
}
