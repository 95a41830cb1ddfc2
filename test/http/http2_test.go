package http

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is one request of HTTP/2, on a connection of its own.
type stream struct {
	c       *conversation
	framer  *http2.Framer
	answer  bytes.Buffer // in the form of HTTP/1.1
	settled bool         // the client has the server's settings
	ended   bool
}

const streamID = 1

// http2 begins a request. Its header fields are pairs, pseudo-header fields first.
func (c *conversation) http2(end bool, fields ...string) *stream {
	s := &stream{c: c}
	c.raw(http2.ClientPreface)
	s.framer = http2.NewFramer(c.Conn, c.Conn)
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = s.framer.WriteSettings()
	s.read(func() bool { return s.settled })
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = encoder.WriteField(hpack.HeaderField{Name: "x-row", Value: c.app.number()})
	for _, line := range c.app.extra {
		name, value, _ := strings.Cut(line, ": ")
		_ = encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value})
	}
	_ = s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: streamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
	return s
}

func (s *stream) send(text string, end bool) { _ = s.framer.WriteData(streamID, end, []byte(text)) }

// read reads until a condition holds, or the stream or the connection ends.
func (s *stream) read(is func() bool) {
	for s.c.failed == nil && !s.ended && !is() {
		f, err := s.framer.ReadFrame()
		if err != nil {
			s.ended = true
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				s.settled = true
				_ = s.framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			s.takeHead(f)
		case *http2.DataFrame:
			s.answer.Write(f.Data())
			s.ended = f.StreamEnded()
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			s.ended = true
		}
	}
}

func (s *stream) takeHead(f *http2.MetaHeadersFrame) {
	if s.answer.Len() == 0 || strings.HasPrefix(f.PseudoValue("status"), "1") {
		fmt.Fprintf(&s.answer, "HTTP/2 %s\r\n", f.PseudoValue("status"))
		for _, field := range f.RegularFields() {
			if field.Name != "content-length" {
				fmt.Fprintf(&s.answer, "%s: %s\r\n", field.Name, field.Value)
			}
		}
		s.answer.WriteString("\r\n")
	}
	s.ended = s.ended || f.StreamEnded()
}

// finish reads the response to its end and passes it to the row.
func (s *stream) finish() {
	s.read(func() bool { return false })
	s.over()
}

func (s *stream) over() {
	s.c.answer = s.answer
	s.c.Close()
}

func request2(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "http", ":authority", host, ":path", path}, more...)
}

var http2Rows = []row{
	{name: "HTTP/2 without TLS is answered", play: func(c *conversation) { c.http2(true, request2("GET", "/a?b")...).finish() },
		want: []expectation{statuses(200), answerBody("ok"), appHas("GET /a?b HTTP/1.1"), appHas("Host: " + host)}},
	{name: "Trailers of a request of HTTP/2 pass", play: func(c *conversation) {
		s := c.http2(false, request2("POST", "/a", "trailer", "x-end")...)
		s.send("hello", false)
		var block bytes.Buffer
		_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: "x-end", Value: "1"})
		_ = s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: streamID, BlockFragment: block.Bytes(), EndHeaders: true,
			EndStream: true})
		s.finish()
	}, want: []expectation{statuses(200), appBody("hello"), appTrailer("X-End: 1")}},
	{name: "A body of HTTP/2 that is longer than its Content-Length is never passed on whole", play: func(c *conversation) {
		s := c.http2(false, request2("POST", "/a", "content-length", "5")...)
		s.send("hello, world", true)
		s.finish()
	}, want: []expectation{refused, appNoBody}},
	{name: "A Transfer-Encoding in HTTP/2 is refused", play: func(c *conversation) {
		s := c.http2(false, request2("POST", "/a", "transfer-encoding", "chunked")...)
		s.send("0\r\n\r\n"+second, true)
		s.finish()
	}, want: []expectation{refused, appSaw(0)}},
	{name: "A line break in a header field of HTTP/2 is refused", play: func(c *conversation) {
		c.http2(true, request2("GET", "/a", "x-a", "b\r\nx-b: c")...).finish()
	}, want: []expectation{refused, appSaw(0)}},
	{name: "A WebSocket over HTTP/2 passes bytes in both directions", serve: echo, play: func(c *conversation) {
		s := c.http2(false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", host, ":path", "/a",
			"sec-websocket-version", "13")
		s.read(func() bool { return s.answer.Len() > 0 })
		s.send("ping", false)
		s.read(func() bool { return strings.HasSuffix(s.answer.String(), "ping") })
		s.over()
	}, want: []expectation{statuses(200), answerBody("ping"), appHas("Upgrade: websocket")},
		but: map[string]string{builtIn: "it does not offer this, and clients use HTTP/1.1 for WebSockets"}},
}

// appNoBody expects that the application has not received a whole body.
func appNoBody(o *outcome) error {
	for _, r := range o.seen {
		if r.body != "" {
			return fmt.Errorf("the application has received %s", o.received())
		}
	}
	return nil
}
