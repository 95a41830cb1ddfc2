package http

import (
	"fmt"
	"strings"
)

// Parts of requests.
const (
	hostLine = "Host: " + host + "\r\n"
	end      = "Connection: close\r\n\r\n"
	get      = "GET /a HTTP/1.1\r\n" + hostLine
	post     = "POST /a HTTP/1.1\r\n" + hostLine
	chunked  = "Transfer-Encoding: chunked\r\n"
	second   = "GET /second HTTP/1.1\r\n" + hostLine + end
)

// says reads the request's body and answers with a text.
func says(text string) func(c *appConn) { return func(c *appConn) { c.answer(text) } }

// table is all rows.
var table = withInner(concat(versions, hosts, trailers, upgrades, interims, limits, headers, paths, framings, malformedChunks(),
	stalls, http2Rows))

func concat(parts ...[]row) (all []row) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

var versions = []row{
	{name: "A client of HTTP/1.0 is answered", send: "GET /a HTTP/1.0\r\n" + hostLine + "\r\n",
		want: []expectation{statuses(200), answerBody("ok"), appHas("GET /a HTTP/1.1")}},
	{name: "A request of HTTP/1.0 without a host is refused", send: "GET /a HTTP/1.0\r\n\r\n",
		want: []expectation{oneOf(400, 404), appSaw(0)}},
	{name: "A client of HTTP/1.0 gets no chunks", send: "GET /a HTTP/1.0\r\n" + hostLine + "\r\n",
		serve: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		want:  []expectation{statuses(200), answerLacks("Transfer-Encoding:"), answerBody("hello")}},
	{name: "A client of HTTP/1.0 gets no interim responses", send: "GET /a HTTP/1.0\r\n" + hostLine + "\r\n",
		serve: says("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okay), want: []expectation{statuses(200)},
		but: map[string]string{envoyProxy: "Envoy passes them on to every client"}},
	{name: "Pipelined requests are answered in their order", send: get + "\r\n" + second,
		want: []expectation{statuses(200, 200), appSaw(2)}},
}

var hosts = []row{
	{name: "A host with a port is found, and passed on as it is", send: "GET / HTTP/1.1\r\nHost: " + host + ":8080\r\n" + end,
		want: []expectation{statuses(200), appHas("Host: " + host + ":8080")}},
	{name: "A host in upper case is found, and passed on as it is", send: "GET / HTTP/1.1\r\nHost: " + strings.ToUpper(host) + "\r\n" + end,
		want: []expectation{statuses(200), appHas("Host: " + strings.ToUpper(host))}},
	{name: "A host with a dot at its end is found, and passed on without the dot",
		send: "GET / HTTP/1.1\r\nHost: " + host + ".:80\r\n" + end,
		want: []expectation{statuses(200), appHas("Host: " + host + ":80")}},
	{name: "An absolute target names the host", send: "GET http://" + host + "/a?b HTTP/1.1\r\nHost: other\r\n" + end,
		want: []expectation{statuses(200), appHas("GET /a?b HTTP/1.1"), appHas("Host: " + host)}},
	{name: "A request without a host is refused", send: "GET / HTTP/1.1\r\n" + end, want: []expectation{statuses(400), appSaw(0)}},
	{name: "A request with two hosts is refused", send: "GET / HTTP/1.1\r\n" + hostLine + "Host: other\r\n" + end,
		want: []expectation{oneOf(400, 404), appSaw(0)}},
	{name: "An unknown host gets 404", send: "GET / HTTP/1.1\r\nHost: nobody\r\n" + end, want: []expectation{statuses(404), appSaw(0)}},
}

var trailers = []row{
	{name: "Trailers of a request pass", send: post + chunked + "Trailer: X-End\r\n" + end + "5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n",
		want: []expectation{statuses(200), appBody("hello"), appTrailer("X-End: 1")}},
	{name: "Unannounced trailers of a request pass", send: post + chunked + end + "5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n",
		want: []expectation{statuses(200), appBody("hello"), appTrailer("X-End: 1")}},
	{name: "Trailers of a response pass", send: get + "TE: trailers\r\n" + end,
		serve: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n"),
		want:  []expectation{statuses(200), answerBody("hello"), answerTrailer("X-End: 1")}},
	{name: "Unannounced trailers of a response pass", send: get + "TE: trailers\r\n" + end,
		serve: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n"),
		want:  []expectation{statuses(200), answerBody("hello"), answerTrailer("X-End: 1")}},
}

const (
	webSocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
		"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// echo switches protocols and answers each byte with itself.
func echo(c *appConn) {
	c.write(switching)
	for {
		b, err := c.reader.ReadByte()
		if err != nil {
			c.hangUp()
			return
		}
		c.write(string(b))
	}
}

var upgrades = []row{
	{name: "A WebSocket passes bytes in both directions", send: get + webSocket, serve: echo,
		play: func(c *conversation) { c.read("\r\n\r\n"); c.send("ping"); c.read("ping"); _ = closeWrite(c) },
		want: []expectation{statuses(101), answerBody("ping"), appHas("Upgrade: websocket")}},
	{name: "A WebSocket reaches a revision that speaks h2c", send: "GET /a HTTP/1.1\r\nHost: " + h2cHost + "\r\n" + webSocket, serve: echo,
		play: func(c *conversation) { c.read("\r\n\r\n"); c.send("ping"); c.read("ping"); _ = closeWrite(c) },
		want: []expectation{statuses(101), answerBody("ping")}},
	{name: "An application may refuse a WebSocket", send: get + webSocket,
		serve: says("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
		play:  func(c *conversation) { c.read("no"); _ = closeWrite(c) },
		want:  []expectation{statuses(403), answerBody("no")}},
	{name: "An upgrade to anything else is refused", send: get + "Connection: Upgrade, close\r\nUpgrade: other\r\n\r\n",
		play: func(c *conversation) { c.read("\r\n\r\n"); _ = closeWrite(c) },
		want: []expectation{statuses(403), appSaw(0)}},
	{name: "An offer to upgrade to h2c is ignored",
		send: get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		play: func(c *conversation) { c.read("ok"); _ = closeWrite(c) },
		want: []expectation{statuses(200), appLacks("Upgrade:")}},
	{name: "A WebSocket outlives the timeout of requests", send: get + webSocket, serve: echoOrHang,
		play: func(c *conversation) {
			c.read("\r\n\r\n")
			late := c.another("GET /hang HTTP/1.1\r\n" + hostLine + end)
			late.read(" 504 ") // then the timeout of both has passed
			c.send("ping")
			c.read("ping")
			_ = closeWrite(c)
		},
		want: []expectation{statuses(101), answerBody("ping")}},
}

// echoOrHang answers only WebSockets.
func echoOrHang(c *appConn) {
	if c.has("Upgrade: websocket") {
		echo(c)
		return
	}
	_, _ = c.reader.ReadByte() // blocks until the hop gives up
	c.hangUp()
}

var interims = []row{
	{name: "An application may refuse a request before its body", send: post + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
		serve: func(c *appConn) {
			c.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			c.hangUp()
		},
		play: func(c *conversation) { c.read("no"); _ = closeWrite(c) },
		want: []expectation{statuses(413), answerBody("no"), appHas("Expect: 100-continue")}},
	{name: "100 Continue passes, once", send: post + "Content-Length: 5\r\nExpect: 100-continue\r\n" + end,
		serve: func(c *appConn) { c.write("HTTP/1.1 100 Continue\r\n\r\n"); c.answer(okay) },
		play:  func(c *conversation) { c.read("100 Continue\r\n\r\n"); c.send("hello") },
		want:  []expectation{statuses(100, 200), appBody("hello")}},
	{name: "103 Early Hints passes", send: get + end, serve: says("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okay),
		want: []expectation{statuses(103, 200)}},
	{name: "No client gets more than 1,000 interim responses", send: get + end,
		serve: says(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 20_000) + okay), want: []expectation{interim(1000)}},
}

// fields returns n header fields.
func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: %d\r\n", i, i)
	}
	return b.String()
}

var limits = []row{
	{name: "A request may have 80 header fields", send: get + fields(80) + end, want: []expectation{statuses(200), appHas("X-79: 79")}},
	{name: "A request with 600 header fields gets 431", send: get + fields(600) + end, want: []expectation{statuses(431), appSaw(0)}},
	{name: "A request may have 48 KiB of header", send: get + "X-Long: " + strings.Repeat("x", 48<<10) + "\r\n" + end,
		want: []expectation{statuses(200), appSaw(1)}},
	{name: "A request with 80 KiB of header gets 431", send: get + "X-Long: " + strings.Repeat("x", 80<<10) + "\r\n" + end,
		want: []expectation{statuses(431), appSaw(0)}},
	{name: "A response may have 300 header fields", send: get + end,
		serve: says("HTTP/1.1 200 OK\r\n" + fields(300) + "Content-Length: 2\r\n\r\nok"),
		want:  []expectation{statuses(200), answerHas("X-299: 299")}},
	{name: "A response may have 80 KiB of header", send: get + end,
		serve: says("HTTP/1.1 200 OK\r\nX-Long: " + strings.Repeat("x", 80<<10) + "\r\nContent-Length: 2\r\n\r\nok"),
		want:  []expectation{statuses(200), answerBody("ok")}},
}

var headers = []row{
	{name: "Unknown methods pass", send: "BREW /pot HTTP/1.1\r\n" + hostLine + end,
		want: []expectation{statuses(200), appHas("BREW /pot HTTP/1.1")},
		but: map[string]string{envoyProxy: "Envoy answers 400 to methods of HTTP/1.1 that it does not know; " +
			"its allow_custom_methods is work in progress"}},
	{name: "OPTIONS * gets 404", send: "OPTIONS * HTTP/1.1\r\n" + hostLine + end, want: []expectation{statuses(404), appSaw(0)}},
	{name: "A request without an X-Request-Id gets one", send: get + end, want: []expectation{statuses(200), appHas("X-Request-Id:")}},
	{name: "The X-Request-Id of a client is replaced", send: get + "X-Request-Id: mine\r\n" + end,
		want: []expectation{statuses(200), appHas("X-Request-Id:"), appLacks("X-Request-Id: mine")}},
	{name: "X-Forwarded-For gets the client's address", send: get + "X-Forwarded-For: 192.0.2.1\r\n" + end,
		want: []expectation{statuses(200), appForwarded("192.0.2.1", "127.0.0.1")},
		but:  map[string]string{envoyProxy: "for a client on loopback Envoy adds the address of the machine"}},
	{name: "X-Forwarded-Proto is the scheme that the client used", send: get + "X-Forwarded-Proto: https\r\n" + end,
		want: []expectation{statuses(200), appHas("X-Forwarded-Proto: http")}},
	{name: "The application's Server passes", send: get + end,
		serve: says("HTTP/1.1 200 OK\r\nServer: mine\r\nContent-Length: 2\r\n\r\nok"),
		want:  []expectation{answerHas("Server: mine")}},
	{name: "No Server is added", send: get + end, want: []expectation{statuses(200), answerLacks("Server:")}},
	{name: "No Content-Type is added", send: get + end,
		serve: says("HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 6\r\n\r\n<html>"),
		want:  []expectation{statuses(200), answerLacks("Content-Type:"), answerBody("<html>")}},
	{name: "No Content-Type is added to a chunked response", send: get + end,
		serve: says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<html>\r\n0\r\n\r\n"),
		want:  []expectation{statuses(200), answerLacks("Content-Type:"), answerBody("<html>")}},
	{name: "No header about the proxy is added", send: get + end,
		want: []expectation{statuses(200), answerLacks("x-envoy-upstream-service-time:"), answerLacks("Via:"),
			appLacks("x-envoy-expected-rq-timeout-ms:")}},
	{name: "Header fields of the same name stay apart", send: get + end,
		serve: says("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"),
		want:  []expectation{answerHas("Set-Cookie: a=1"), answerHas("Set-Cookie: b=2")}},
	{name: "Header fields with underscores pass", send: get + "my_header: 1\r\n" + end,
		want: []expectation{statuses(200), appHas("my_header: 1")}},
	{name: "A header field that continues on another line is refused", send: get + "X-A: b\r\n c\r\n" + end,
		want: []expectation{oneOf(400), appSaw(0)},
		but:  map[string]string{envoyProxy: "Envoy joins the lines into one"}},
	{name: "A carriage return in a header field is refused", send: get + "X-A: b\rX-B: c\r\n" + end,
		want: []expectation{oneOf(400), appSaw(0)},
		but:  map[string]string{envoyProxy: "Envoy removes it"}},
	{name: "NUL in a header field is refused", send: get + "X-A: b\x00c\r\n" + end, want: []expectation{oneOf(400), appSaw(0)}},
	{name: "A space before a colon is refused", send: get + "X-A : b\r\n" + end, want: []expectation{oneOf(400), appSaw(0)}},
}

// target is a row for a request target that passes unchanged.
func target(name, path string) row {
	return row{name: name, send: "GET " + path + " HTTP/1.1\r\n" + hostLine + end,
		want: []expectation{statuses(200), appHas("GET " + path + " HTTP/1.1")}}
}

var paths = []row{
	target("Escaped slashes pass", "/a%2Fb%2f%5Cc"),
	target("Dot segments pass", "/a/../b/./c"),
	target("Double slashes pass", "//a//b"),
	target("Bytes that should be escaped pass", `/a|b^c{d}"e`),
	target("A query passes as it is", "/a?b;c&d=%zz&e=|&?"),
	target("An empty query passes", "/a?"),
	{name: "A fragment is refused", send: "GET /a#b HTTP/1.1\r\n" + hostLine + end, want: []expectation{statuses(400), appSaw(0)}},
	{name: "A percent sign that escapes nothing passes", send: "GET /a%zz HTTP/1.1\r\n" + hostLine + end,
		want: []expectation{statuses(200), appHas("GET /a%zz HTTP/1.1")},
		but:  map[string]string{builtIn: "net/http answers 400 before the gateway sees the request"}},
}
