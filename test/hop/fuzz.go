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

// understood is one request as one side of a hop has parsed it. Run identifies the fuzz input that it belongs to; it is empty if the
// header with it was lost.
type understood struct{ method, target, body, run string }

// matches reports whether a hop may have turned the one request into the other. A hop may rewrite a target that is not a path, and
// escape some characters of a path that begins with two slashes or has a space (see docs/http.md).
func (u understood) matches(other understood) bool {
	if u.method != other.method || u.body != other.body || u.run != other.run {
		return false
	}
	if strings.HasPrefix(u.target, "//") || strings.Contains(u.target, " ") {
		return unescaped(u.target) == unescaped(other.target)
	}
	return u.target == other.target || !strings.HasPrefix(u.target, "/")
}

// unescaped returns a target with its valid escapes decoded.
func unescaped(target string) string {
	path, query, _ := strings.Cut(target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	return path + "?" + query
}

// within reports whether got is a subsequence of want.
func within(got, want []understood) bool {
	for _, w := range want {
		if len(got) > 0 && w.matches(got[0]) {
			got = got[1:]
		}
	}
	return len(got) == 0
}

// The headers in which a mirror answers what it has parsed.
const (
	mirrorTarget = "X-Mirror-Target"
	mirrorBody   = "X-Mirror-Body"
	mirrorMethod = "X-Mirror-Method"
	runHeader    = "X-Run" // also of requests: the input that they belong to
)

// mirror is an application that records the requests that it has parsed, and answers with them.
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

// take returns the requests since the last call.
func (m *mirror) take() []understood {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.seen
	m.seen = nil
	return seen
}

// seeds are the first inputs of fuzzing, in addition to the corpus in testdata/fuzz.
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

// Fuzz sends bytes to the server, as a client that then closes its side, and compares the requests on both sides of the hop. The
// application may get only requests that a strict parser finds in the bytes, in the same order, and the client only answers to them.
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
		// The application may read a request after its client has gone. Then the request belongs to an earlier input.
		got := slices.DeleteFunc(app.take(), func(u understood) bool { return u.run != tag })
		if !within(got, want) {
			t.Errorf("of %q\nthe application parsed %q\nand a strict parser    %q", input, got, want)
		}
		if !within(answers, want) {
			t.Errorf("to %q\nthe client got the answers %q\nand had asked              %q", input, answers, want)
		}
	})
}

// answerTimeout is how long a client waits for an answer before it closes its side. After that some servers read no more.
const answerTimeout = 2 * time.Millisecond

// converse sends the input and returns the requests that the application has answered, until the server closes the connection.
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
			_ = conn.SetReadDeadline(time.Now().Add(answerTimeout)) // cannot fail on TCP
			if _, err := in.Peek(1); errors.Is(err, os.ErrDeadlineExceeded) {
				ended = true
				_ = conn.(*net.TCPConn).CloseWrite() // the server may have closed it
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(timeout)) // likewise
		response, err := http.ReadResponse(in, nil)       //nolint:bodyclose // closing would read on to the end of an answer to HEAD
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the connection is kept after %q", input)
			}
			return answers
		}
		_, _ = io.Copy(io.Discard, response.Body) // an answer to HEAD may be followed by another one
		if response.Header.Get(mirrorMethod) != "" {
			answers = append(answers, understood{quoted(response, mirrorMethod), quoted(response, mirrorTarget),
				quoted(response, mirrorBody), quoted(response, runHeader)})
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

// reference returns the requests that a strict parser finds in a client's bytes before the first malformed one. It is strict in what
// decides where a request ends; net/http parses the rest of a head.
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
