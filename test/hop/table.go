package hop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Test runs all tests against a server.
func Test(t *testing.T, start Start) {
	for name, test := range map[string]func(*testing.T, Start){
		"NothingIsAdded":            nothingIsAdded,
		"WhatComesGoesOn":           whatComesGoesOn,
		"Trailers":                  trailers,
		"OldClients":                oldClients,
		"StalledUpload":             stalledUpload,
		"EarlyAnswer":               earlyAnswer,
		"Expectation":               expectation,
		"InformationalResponses":    informational,
		"MalformedRequests":         malformed,
		"NothingIsSentTwice":        nothingIsSentTwice,
		"Upgrades":                  upgrades,
		"RefusedUpgrades":           refusedUpgrades,
		"AnswersEndWithTheirLength": cutAnswers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start)
		})
	}
}

func begin(t testing.TB, start Start, answer Answer) (*App, *Client) {
	t.Helper()
	app := NewApp(t, answer)
	address, headers := start(t, app.Address)
	return app, Dial(t, address, headers)
}

// nothingIsAdded has an application that sends as few headers as possible. A server may add only Date, which HTTP requires.
func nothingIsAdded(t *testing.T, start Start) {
	for name, answer := range map[string]string{
		"length":     text("<html><script>"),
		"chunked":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n<html><script>\r\n0\r\n\r\n",
		"no content": "HTTP/1.1 204 No Content\r\n\r\n",
		"error":      "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n<html><script>",
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan http.Header, 1)
			_, c := begin(t, start, func(conn net.Conn, r *http.Request) bool {
				requests <- r.Header
				return Says(answer)(conn, r)
			})
			c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n")
			got := c.Next("GET")
			for name := range got.Header {
				if name != "Content-Length" && name != "Date" {
					t.Errorf("the answer has %s: %q", name, got.Header[name])
				}
			}
			sent := <-requests
			for _, name := range []string{"User-Agent", "Accept-Encoding", "Content-Length", "Accept", "Content-Type", "Connection"} {
				if values, ok := sent[name]; ok {
					t.Errorf("the request has %s: %q", name, values)
				}
			}
		})
	}
}

func whatComesGoesOn(t *testing.T, start Start) {
	app, c := begin(t, start, Says(text("yes")))
	for _, want := range []string{
		"GET /", "GET /a%2Fb//c", "GET /a/../b/./c", "GET /?x=1;y&z=%zz", "GET /a?", "GET /%7Euser/~user", "GET /a|b^c`d\"e",
		"GET //double", "GET /a;b=c/d,e", "GET /%C3%A4", "GET /ä", "GET /a%00b", "GET /a+b%20c",
		"OPTIONS /", "OPTIONS *", "DELETE /", "PATCH /", "PROPFIND /dav", "BREW /pot", "M-SEARCH /", "get /lower",
	} {
		before := len(app.Seen())
		c.Send(want + " HTTP/1.1\r\nHost: h\r\n{}\r\n")
		c.Want("GET", http.StatusOK)
		if got := app.Seen()[before:]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: the application got %q", want, got)
		}
	}
	c.Send("HEAD /head HTTP/1.1\r\nHost: h\r\n{}\r\n")
	if got := c.Want("HEAD", http.StatusOK); got.ContentLength != 3 {
		t.Errorf("the response to HEAD has the length %d", got.ContentLength)
	}
	c.Send("GET http://other/absolute?q HTTP/1.1\r\nHost: h\r\n{}\r\n")
	c.Want("GET", http.StatusOK)
	if seen := app.Seen(); seen[len(seen)-1] != "GET /absolute?q" {
		t.Errorf("an absolute target became %q", seen[len(seen)-1])
	}
}

func trailers(t *testing.T, start Start) {
	got := make(chan http.Header, 2)
	_, c := begin(t, start, func(conn net.Conn, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body) // an error shows in the trailers
		got <- r.Trailer
		_, err := io.WriteString(conn,
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n")
		return err == nil
	})
	for range 2 { // the connection stays usable after the trailers
		c.Send("POST / HTTP/1.1\r\nHost: h\r\n{}TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n" +
			"2\r\nhi\r\n0\r\nX-End: yes\r\n\r\n")
		if reply := c.Want("POST", http.StatusOK); reply.Text != "ok" || reply.Trailer.Get("X-Sum") != "2" {
			t.Errorf("got %q with trailers %v", reply.Text, reply.Trailer)
		}
		if sent := <-got; sent.Get("X-End") != "yes" {
			t.Errorf("the application got the trailers %v", sent)
		}
	}
}

// oldClients are those of HTTP/1.0: they do not know chunks, and a connection is for one request unless they ask for more.
func oldClients(t *testing.T, start Start) {
	_, c := begin(t, start, Says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	c.Send("GET / HTTP/1.0\r\nHost: h\r\n{}\r\n")
	if got := c.Want("GET", http.StatusOK); got.Text != "ok" || len(got.TransferEncoding) > 0 {
		t.Errorf("got %q %q", got.TransferEncoding, got.Text)
	}
	c.WantEnd()
	_, c = begin(t, start, func(conn net.Conn, r *http.Request) bool {
		_, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		return err == nil && Says(text("known"))(conn, r)
	})
	for range 2 {
		c.Send("GET / HTTP/1.0\r\nHost: h\r\n{}Connection: keep-alive\r\n\r\n")
		c.Want("GET", http.StatusOK) // without a 103 before: these clients do not know informational responses
	}
}

// uploads are requests without the end of their bodies.
var uploads = map[string]string{
	"length":  "POST /stalls HTTP/1.1\r\nHost: h\r\n{}Content-Length: 1000\r\n\r\nabc",
	"chunked": "POST /stalls HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
}

// stalledUpload has the application end while a client stalls in the middle of a body.
func stalledUpload(t *testing.T, start Start) {
	for name, upload := range uploads {
		t.Run(name, func(t *testing.T) {
			app, c := begin(t, start, func(_ net.Conn, r *http.Request) bool {
				_, _ = io.ReadFull(r.Body, make([]byte, 3))
				return false
			})
			c.Send(upload)
			c.Want("POST", http.StatusBadGateway)
			c.WantEnd()
			if seen := app.Seen(); len(seen) != 1 {
				t.Errorf("the application got %q", seen)
			}
		})
	}
}

// earlyAnswer has the application answer before the body has arrived. The server must not parse the rest of the body as a request.
func earlyAnswer(t *testing.T, start Start) {
	for name, upload := range uploads {
		for _, rest := range []string{"", "GET /behind HTTP/1.1\r\nHost: h\r\n\r\n"} {
			t.Run(fmt.Sprint(name, " ", len(rest)), func(t *testing.T) {
				app, c := begin(t, start, func(conn net.Conn, _ *http.Request) bool {
					_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
					closed(conn) // by the server, which cannot reuse it
					return false
				})
				c.Send(upload)
				if got := c.Want("POST", http.StatusRequestEntityTooLarge); got.Text != "big" || !got.Close {
					t.Errorf("got %v %q", got.Header, got.Text)
				}
				_, _ = io.WriteString(c.Conn, rest) // the server may have closed the connection
				c.WantEnd()
				if seen := app.Seen(); len(seen) != 1 {
					t.Errorf("the application got %q", seen)
				}
			})
		}
	}
}

// expectation has clients send Expect: 100-continue.
func expectation(t *testing.T, start Start) {
	const ask = "POST / HTTP/1.1\r\nHost: h\r\n{}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	t.Run("refused", func(t *testing.T) {
		read := make(chan int64, 1)
		_, c := begin(t, start, func(conn net.Conn, r *http.Request) bool {
			_, _ = io.WriteString(conn, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			n, _ := io.Copy(io.Discard, r.Body) // ends with the connection
			read <- n
			return false
		})
		c.Send(ask)
		if got := c.Want("POST", http.StatusUnauthorized); got.Text != "no" || !got.Close {
			t.Errorf("got %v %q", got.Header, got.Text)
		}
		c.WantEnd()
		if n := <-read; n != 0 {
			t.Errorf("the application got %d bytes of the body", n)
		}
	})
	t.Run("accepted", func(t *testing.T) {
		_, c := begin(t, start, func(conn net.Conn, r *http.Request) bool {
			_, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			return err == nil && Says(text("thanks"))(conn, r)
		})
		for range 2 {
			c.Send(ask)
			c.Want("POST", http.StatusContinue)
			c.Send("hello")
			c.Want("POST", http.StatusOK)
		}
	})
	t.Run("not understood", func(t *testing.T) {
		_, c := begin(t, start, Says(text("thanks")))
		c.Send(ask)
		c.Want("POST", http.StatusContinue)
		c.Send("hello")
		c.Want("POST", http.StatusOK)
	})
}

func informational(t *testing.T, start Start) {
	_, c := begin(t, start, func(conn net.Conn, r *http.Request) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
		return Says(text("yes"))(conn, r)
	})
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n")
	if got := c.Want("GET", http.StatusEarlyHints); got.Header.Get("Link") != "</a.css>" {
		t.Errorf("got %v", got.Header)
	}
	if got := c.Want("GET", http.StatusOK); got.Header.Get("Link") != "" {
		t.Errorf("got %v", got.Header)
	}
	const many = 20_000
	_, c = begin(t, start, func(conn net.Conn, r *http.Request) bool {
		_, err := io.WriteString(conn, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", many))
		return err == nil && Says(text("yes"))(conn, r)
	})
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n")
	for n := 0; ; n++ {
		got := c.Next("GET")
		if got.StatusCode == http.StatusBadGateway {
			break
		}
		if got.StatusCode != http.StatusEarlyHints || n > 1000 {
			t.Fatalf("got %d after %d others", got.StatusCode, n)
		}
	}
}

// Malformed are requests whose end is ambiguous, or that are no requests.
var Malformed = map[string]string{
	"two lengths":       "POST / HTTP/1.1\r\nHost: h\r\n{}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
	"length and coding": "POST / HTTP/1.1\r\nHost: h\r\n{}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"coding and length": "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n0\r\n\r\n",
	"unknown coding":    "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"coding twice": "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n" +
		"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
	"old client with a coding":  "POST / HTTP/1.0\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
	"space before the colon":    "POST / HTTP/1.1\r\nHost: h\r\n{}Content-Length : 3\r\n\r\nabc",
	"continued line":            "POST / HTTP/1.1\r\nHost: h\r\n{}X-A: b\r\n Content-Length: 3\r\n\r\nabc",
	"NUL in a header":           "GET / HTTP/1.1\r\nHost: h\r\n{}X-A: b\x00c\r\n\r\n",
	"CR in a header":            "GET / HTTP/1.1\r\nHost: h\r\n{}X-A: b\rX-B: c\r\n\r\n",
	"signed length":             "POST / HTTP/1.1\r\nHost: h\r\n{}Content-Length: +3\r\n\r\nabc",
	"length in hexadecimal":     "POST / HTTP/1.1\r\nHost: h\r\n{}Content-Length: 0x3\r\n\r\nabc",
	"no host":                   "GET / HTTP/1.1\r\n{}\r\n",
	"two hosts":                 "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n{}\r\n",
	"no version":                "GET /\r\nHost: h\r\n{}\r\n",
	"size is no number":         "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\nZ\r\nabc\r\n0\r\n\r\n",
	"size with a sign":          "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
	"size with 0x":              "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
	"size too large":            "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
	"size and a line feed":      "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
	"longer chunk":              "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
	"chunk and a line feed":     "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
	"no size":                   "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
	"line feed in an extension": "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
	"trailer without a colon":   "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A\r\n\r\n",
	"trailer with a space":      "POST / HTTP/1.1\r\nHost: h\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A : b\r\n\r\n",
}

// Behind is a request that is smuggled after another.
const Behind = "GET /behind HTTP/1.1\r\nHost: h\r\n"

func malformed(t *testing.T, start Start) {
	app := NewApp(t, Says(text("yes")))
	address, headers := start(t, app.Address)
	for name, request := range Malformed {
		t.Run(name, func(t *testing.T) {
			c := Dial(t, address, headers)
			c.Send(request + Behind + headers + "\r\n")
			if got := c.Next("POST"); got.StatusCode != http.StatusBadRequest && got.StatusCode != http.StatusNotImplemented {
				t.Errorf("got %d %v %q", got.StatusCode, got.Header, got.Text)
			}
			c.WantEnd()
		})
	}
	if slices.Contains(app.Seen(), "GET /behind") {
		t.Error("the bytes after the request were parsed as another request")
	}
}

// nothingIsSentTwice has the application answer one request of a connection, and reset the connection when it has read the second.
func nothingIsSentTwice(t *testing.T, start Start) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST"} {
		for _, reset := range []bool{true, false} {
			app, c := begin(t, start, func(conn net.Conn, r *http.Request) bool {
				if r.URL.Path == "/first" {
					return Says(text("yes"))(conn, r)
				}
				if tcp, ok := conn.(*net.TCPConn); ok && reset {
					_ = tcp.SetLinger(0)
				}
				return false
			})
			c.Send("GET /first HTTP/1.1\r\nHost: h\r\n{}\r\n")
			c.Want("GET", http.StatusOK)
			c.Send(method + " /second HTTP/1.1\r\nHost: h\r\n{}Idempotency-Key: 1\r\n\r\n")
			c.Want(method, http.StatusBadGateway)
			if got, want := app.Seen(), []string{"GET /first", method + " /second"}; !slices.Equal(got, want) {
				t.Errorf("reset %v: the application got %q, want %q", reset, got, want)
			}
		}
	}
}

func upgrades(t *testing.T, start Start) {
	_, c := begin(t, start, func(conn net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-App: yes\r\n\r\n")
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				_, _ = io.WriteString(conn, "bye")
				return false
			}
			_, _ = io.WriteString(conn, line)
		}
	})
	// All bytes go to the application as they are, whether they look like a request or not.
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}Connection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if got := c.Want("GET", http.StatusSwitchingProtocols); got.Header.Get("X-App") != "yes" {
		t.Errorf("got %v", got.Header)
	}
	for _, line := range []string{Behind, "\x00\xff\x80 no: request\r\n", "\r\n", "POST / HTTP/1.1\r\n"} {
		c.Send(line)
		for _, part := range strings.SplitAfter(strings.TrimSuffix(line, "\n"), "\n") {
			got, err := c.In.ReadString('\n')
			if err != nil || strings.TrimSuffix(got, "\n") != strings.TrimSuffix(part, "\n") {
				t.Fatalf("got %q, %v; want %q", got, err, part)
			}
		}
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.In); string(rest) != "bye" || err != nil {
		t.Errorf("the other direction ended with %q, %v", rest, err)
	}
}

func refusedUpgrades(t *testing.T, start Start) {
	app, c := begin(t, start, Says(text("no")))
	for range 2 {
		c.Send("GET /refused HTTP/1.1\r\nHost: h\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if got := c.Want("GET", http.StatusOK); got.Text != "no" {
			t.Errorf("got %q", got.Text)
		}
	}
	c.Send("GET /offer HTTP/1.1\r\nHost: h\r\n{}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
	c.Want("GET", http.StatusOK)
	if seen := app.Seen(); len(seen) != 3 {
		t.Errorf("the application got %q", seen)
	}
}

// cutAnswers has the application end in the middle of its response. The client must not take the part for the whole.
func cutAnswers(t *testing.T, start Start) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, c := begin(t, start, func(conn net.Conn, _ *http.Request) bool {
				_, _ = io.WriteString(conn, answer)
				return false
			})
			c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n")
			response, err := http.ReadResponse(c.In, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if body, err := io.ReadAll(response.Body); err == nil {
				t.Errorf("%q looks like the whole response", body)
			}
		})
	}
	_, c := begin(t, start, func(conn net.Conn, _ *http.Request) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nuntil the end")
		return false
	})
	c.Send("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n")
	if got := c.Want("GET", http.StatusOK); got.Text != "until the end" {
		t.Errorf("got %q", got.Text)
	}
}
