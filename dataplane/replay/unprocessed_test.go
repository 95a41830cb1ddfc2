package replay_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"sluice.dev/sluice/dataplane/replay"
)

// noticed is a connection that records when the transport has found it dead and closed it.
type noticed struct {
	net.Conn
	closed func()
}

func (c *noticed) Close() error {
	c.closed()
	return c.Conn.Close()
}

// roundTrip sends a request, whose body can be read only once, to a server that handles its connections by handle. With late, the
// request goes to its connection only when the transport knows that the server has closed it.
func roundTrip(t *testing.T, handle func(net.Conn), late bool) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			handle(conn)
			conn.Close()
		}
	}()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dead, found := context.WithCancel(t.Context())
	defer found()
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &noticed{conn, found}, nil
	}}
	defer transport.CloseIdleConnections()
	ctx := t.Context()
	if late {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { <-dead.Done() }})
	}
	body := struct{ io.Reader }{strings.NewReader("body")}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String(), body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err == nil {
		response.Body.Close()
		t.Fatal("it was answered")
	}
	return err
}

// greeted sends SETTINGS, and calls then when the request has come.
func greeted(conn net.Conn, then func(f *http2.Framer, stream uint32)) {
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	if stream := received(conn, f); stream != 0 {
		then(f, stream)
		_, _ = io.Copy(io.Discard, conn)
	}
}

// received reads the client's preface and then until the request's body has come. It returns the request's stream, or 0.
func received(conn net.Conn, f *http2.Framer) uint32 {
	_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0
		}
		if data, ok := frame.(*http2.DataFrame); ok && data.StreamEnded() {
			return data.StreamID
		}
	}
}

func TestRequestThatAServerHasNotReadIsUnprocessed(t *testing.T) {
	for name, test := range map[string]struct {
		handle      func(net.Conn)
		late        bool
		unprocessed bool
	}{
		"it closed before the request": {func(conn net.Conn) { conn.Close() }, true, true},
		// It has read the request, and what it has said of it would be lost with a connection that is reset.
		"it closed before it sent anything": {func(conn net.Conn) { received(conn, http2.NewFramer(io.Discard, conn)) }, false, false},
		"it refused the stream": {func(conn net.Conn) {
			greeted(conn, func(f *http2.Framer, stream uint32) { _ = f.WriteRSTStream(stream, http2.ErrCodeRefusedStream) })
		}, false, true},
		"it was going": {func(conn net.Conn) {
			greeted(conn, func(f *http2.Framer, _ uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil) })
		}, false, true},
		"it ended the stream": {func(conn net.Conn) {
			greeted(conn, func(f *http2.Framer, stream uint32) { _ = f.WriteRSTStream(stream, http2.ErrCodeInternal) })
		}, false, false},
		"it closed with the request": {func(conn net.Conn) {
			greeted(conn, func(*http2.Framer, uint32) { conn.Close() })
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := roundTrip(t, test.handle, test.late); replay.Unprocessed(err) != test.unprocessed {
				t.Errorf("Unprocessed(%v) is %v", err, !test.unprocessed)
			}
		})
	}
}
