package http

import (
	"maps"
	"net"
	"strings"
	"time"
)

// behind is a row for a request after which the hop must not take another.
func behind(name, request string) row {
	return row{name: name, send: request + second, want: []expectation{refused, appLess}}
}

// appLess expects that the application has not received the second request.
func appLess(o *outcome) error {
	for _, r := range o.seen {
		if strings.Contains(r.head, "/second") {
			return appSaw(0)(o)
		}
	}
	return nil
}

var framings = []row{
	behind("A Content-Length beside a Transfer-Encoding is refused", post+"Content-Length: 5\r\n"+chunked+"\r\n0\r\n\r\n"),
	behind("A Transfer-Encoding beside a Content-Length is refused", post+chunked+"Content-Length: 5\r\n\r\n0\r\n\r\n"),
	behind("A Transfer-Encoding in HTTP/1.0 is refused",
		"POST /a HTTP/1.0\r\n"+hostLine+"Connection: keep-alive\r\n"+chunked+"\r\n0\r\n\r\n").
		except(envoyProxy, "Envoy reads the chunks, and passes them on in HTTP/1.1"),
	behind("Two different lengths are refused", post+"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
	behind("A length with a sign is refused", post+"Content-Length: +5\r\n\r\nhello"),
	behind("Another transfer coding is refused", post+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
	behind("A transfer coding that only looks like chunked is refused", post+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
	{name: "What follows a body is another request", send: post + chunked + "\r\n5;a=b\r\nhello\r\n0\r\n\r\n" + second,
		want: []expectation{statuses(200, 200), appSaw(2)}},
}

// skips is a reason: the malformed chunk does no harm, since the bytes that Envoy passes on are unambiguous.
const skips = "Envoy ignores the error, and passes on a valid chunk of 5 bytes"

// except returns the row with the reason of a hop, unless the reason is empty.
func (r row) except(hop, why string) row {
	but := maps.Clone(r.but)
	if but == nil {
		but = map[string]string{}
	}
	if why != "" {
		but[hop] = why
	}
	r.but = but
	return r
}

func malformedChunks() (rows []row) {
	for _, m := range [][]string{
		{"no size", "\r\nhello\r\n0\r\n\r\n"},
		{"a size that is not hexadecimal", "g\r\nhello\r\n0\r\n\r\n"},
		{"0x before the size", "0x5\r\nhello\r\n0\r\n\r\n"},
		{"a plus sign", "+5\r\nhello\r\n0\r\n\r\n"},
		{"a minus sign", "-5\r\nhello\r\n0\r\n\r\n"},
		{"an underscore in the size", "0_5\r\nhello\r\n0\r\n\r\n"},
		{"a size beyond 64 bits", "100000000000000005\r\nhello\r\n0\r\n\r\n"},
		{"a space before the size", " 5\r\nhello\r\n0\r\n\r\n"},
		{"a space after the size", "5 \r\nhello\r\n0\r\n\r\n", skips},
		{"a line feed alone after the size", "5\nhello\r\n0\r\n\r\n"},
		{"a carriage return alone after the size", "5\rhello\r\n0\r\n\r\n"},
		{"data longer than its size", "5\r\nhello!\r\n0\r\n\r\n", skips},
		{"a line feed alone after the data", "5\r\nhello\n0\r\n\r\n", skips},
		{"nothing after the data", "5\r\nhello0\r\n\r\n"},
		{"a line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"},
		{"NUL in an extension", "5;a=\x00\r\nhello\r\n0\r\n\r\n", skips},
		{"a trailer without a colon", "5\r\nhello\r\n0\r\nX-End\r\n\r\n"},
	} {
		r := behind("A chunk with "+m[0]+" ends the connection", post+chunked+"\r\n"+m[1])
		if len(m) > 2 {
			r = r.except(envoyProxy, m[2])
		}
		rows = append(rows, r)
	}
	return rows
}

const tooLarge = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

var stalls = []row{
	{name: "An early answer ends the connection of a client that stalls in its body", send: post + "Content-Length: 100\r\n\r\nhello",
		serve: func(c *appConn) { c.write(tooLarge); _, _ = c.reader.ReadString('!'); c.hangUp() },
		want:  []expectation{statuses(413), answerBody("no"), appSaw(1)}},
	{name: "An early answer ends the connection of a client that stalls in its chunks", send: post + chunked + "\r\n5\r\nhello\r\n",
		serve: func(c *appConn) { c.write(tooLarge); _, _ = c.reader.ReadString('!'); c.hangUp() },
		want:  []expectation{statuses(413), answerBody("no"), appSaw(1)}},
	{name: "An answer before an expected body ends the connection", send: post + "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
		serve: func(c *appConn) { c.write(tooLarge); _, _ = c.reader.ReadString('!'); c.hangUp() },
		want:  []expectation{statuses(413), answerBody("no"), appSaw(1)}},
	{name: "A client that stalls in its body gets 404 if its host is unknown",
		send: "POST /a HTTP/1.1\r\nHost: nobody\r\nContent-Length: 100\r\n\r\nhello",
		want: []expectation{statuses(404), appSaw(0)}},
	{name: "A client that stalls in its body gets an error if its replica has ended", send: post + "Content-Length: 100\r\n\r\nhello",
		serve: func(c *appConn) { _, _ = c.reader.ReadString('o'); c.hangUp() },
		want:  []expectation{oneOf(502, 503), appSaw(1)}},
	{name: "A connection serves the next request after one that timed out", send: post + "Content-Length: 5\r\n\r\nhello",
		serve: func(c *appConn) {
			if c.readBody(); !strings.Contains(c.head, "/second") {
				_, _ = c.reader.ReadByte() // blocks until the hop gives up
				c.hangUp()
				return
			}
			c.write(okay)
		},
		play: func(c *conversation) { c.read(" 504 "); c.send(second) },
		want: []expectation{statuses(504, 200), appSaw(2)}},
	{name: "A request whose connection is lost is not sent again", send: get + "\r\n", serve: loseSecond,
		play: func(c *conversation) { c.read("ok"); c.send(second) },
		want: []expectation{func(o *outcome) error { return appSaw(2)(o) }, func(o *outcome) error {
			if len(o.answers) != 2 || o.answers[1].status/100 != 5 {
				return statuses(200, 503)(o)
			}
			return nil
		}}},
}

// loseSecond answers one request, and resets the connection of those that follow.
func loseSecond(c *appConn) {
	if !strings.Contains(c.head, "/second") {
		c.answer(okay)
		return
	}
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.hangUp()
}

func closeWrite(c *conversation) error { return c.Conn.(*net.TCPConn).CloseWrite() }

// another sends a request from another client to the same hop.
func (c *conversation) another(request string) *conversation {
	conn, err := net.Dial("tcp", c.hop)
	if err != nil {
		c.failed = err
		return c
	}
	_ = conn.SetDeadline(time.Now().Add(waitLimit))
	other := &conversation{Conn: conn, hop: c.hop, app: c.app}
	other.send(request)
	return other
}
