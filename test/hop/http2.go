package hop

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// field is a header field of HTTP/2, pseudo-headers included.
type field struct{ name, value string }

// unclear is a request that HTTP/2 does not allow, or that would be a different request in HTTP/1.1.
type unclear struct {
	change []field // replaces fields of the same name, or is added
	body   string
	want   []string // what the application may get if it gets a request
}

const smuggled = " HTTP/1.1\r\nHost: h\r\n\r\nGET /behind"

var unclears = map[string]unclear{
	"less than its length":       {change: []field{{"content-length", "10"}}, body: "abc"},
	"more than its length":       {change: []field{{"content-length", "1"}}, body: "abc"},
	"two lengths":                {change: []field{{"content-length", "3"}, {"content-length", "4"}}, body: "abc"},
	"a coding":                   {change: []field{{"transfer-encoding", "chunked"}}, body: "0\r\n\r\nGET /behind HTTP/1.1\r\n\r\n"},
	"a connection header":        {change: []field{{"connection", "x-a"}}, body: "abc"},
	"a line break in a value":    {change: []field{{"x-a", "b\r\nContent-Length: 0\r\n\r\nGET /behind HTTP/1.1\r\n\r\n"}}, body: "abc"},
	"NUL in a value":             {change: []field{{"x-a", "b\x00c"}}, body: "abc"},
	"a line break in a name":     {change: []field{{"x-a: b\r\nx-b", "c"}}, body: "abc"},
	"a colon in a name":          {change: []field{{"x-a:", "c"}}, body: "abc"},
	"capitals in a name":         {change: []field{{"X-A", "c"}}, body: "abc"},
	"a request in the path":      {change: []field{{":path", "/a" + smuggled}}, body: "abc"},
	"a space in the path":        {change: []field{{":path", "/a HTTP/1.1 b"}}, body: "abc", want: []string{"POST /a%20HTTP/1.1%20b"}},
	"a request in the method":    {change: []field{{":method", "GET /a" + smuggled}}, body: "abc"},
	"a space in the method":      {change: []field{{":method", "GET /b"}}, body: "abc"},
	"a request in the authority": {change: []field{{":authority", "h\r\n\r\nGET /behind HTTP/1.1"}}, body: "abc"},
	"no path":                    {change: []field{{":path", ""}}, body: "abc"},
	"no method":                  {change: []field{{":method", ""}}, body: "abc"},
}

// fields returns the request's header fields, with those that the server needs.
func (u unclear) fields(headers string) []field {
	all := []field{{":method", "POST"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/a"}}
	for line := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		all = append(all, field{strings.ToLower(name), value})
	}
	for _, c := range u.change {
		i := slices.IndexFunc(all, func(f field) bool { return f.name == c.name && f.name[0] == ':' })
		if i < 0 {
			all = append(all, c)
			continue
		}
		all[i] = c
	}
	return all
}

// TestHTTP2 sends such requests to a server whose application speaks HTTP/1.1.
func TestHTTP2(t *testing.T, start Start) {
	for name, test := range unclears {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			app := NewApp(t, Says(text("yes")))
			address, headers := start(t, app.Address)
			status := sendHTTP2(t, address, test.fields(headers), test.body)
			seen := app.Seen()
			if len(seen) > 0 && !slices.Equal(seen, test.want) && !cutShort(status, seen) {
				t.Errorf("the application got %q, and the client %q", seen, status)
			}
			if test.want == nil && status == "200" {
				t.Errorf("it was accepted")
			}
		})
	}
}

// cutShort reports whether the application got a head without all of its body.
func cutShort(status string, seen []string) bool {
	return status != "200" && slices.Equal(seen, []string{"POST /a"})
}

// sendHTTP2 sends a request and returns the status of the response, or how the request ended without one.
func sendHTTP2(t *testing.T, address string, fields []field, body string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(timeout)) // cannot fail on TCP
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		if err := encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(framer.WriteSettings(),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}),
		framer.WriteData(1, true, []byte(body)))
	for err == nil {
		var frame http2.Frame
		if frame, err = framer.ReadFrame(); err != nil {
			break
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		}
	}
	return err.Error()
}
