package replay_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"sluice.dev/sluice/dataplane/replay"
)

// roundTrip sends a request with a body that cannot be had again to a server that does with its connections what it is told.
func roundTrip(t *testing.T, handle func(net.Conn)) error {
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
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String(), struct{ io.Reader }{strings.NewReader("body")})
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

// greeted reads the client's preface and sends SETTINGS, and then reads until the request's body has come.
func greeted(conn net.Conn, then func(f *http2.Framer, stream uint32)) {
	_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if data, ok := frame.(*http2.DataFrame); ok && data.StreamEnded() {
			then(f, data.StreamID)
			_, _ = io.Copy(io.Discard, conn)
			return
		}
	}
}

func TestWhatAServerHasNotReadIsUnprocessed(t *testing.T) {
	for name, test := range map[string]struct {
		handle      func(net.Conn)
		unprocessed bool
	}{
		// It may have read the request all the same: what it has said is lost with a connection that is reset.
		"it vanished before it said anything": {func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface))) }, false},
		"it refused the stream": {func(conn net.Conn) {
			greeted(conn, func(f *http2.Framer, stream uint32) { _ = f.WriteRSTStream(stream, http2.ErrCodeRefusedStream) })
		}, true},
		"it was going": {func(conn net.Conn) {
			greeted(conn, func(f *http2.Framer, _ uint32) { _ = f.WriteGoAway(0, http2.ErrCodeNo, nil) })
		}, true},
		"it ended the stream": {func(conn net.Conn) {
			greeted(conn, func(f *http2.Framer, stream uint32) { _ = f.WriteRSTStream(stream, http2.ErrCodeInternal) })
		}, false},
		"it vanished with the request": {func(conn net.Conn) {
			greeted(conn, func(*http2.Framer, uint32) { conn.Close() })
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := roundTrip(t, test.handle); replay.Unprocessed(err) != test.unprocessed {
				t.Errorf("Unprocessed(%v) is %v", err, !test.unprocessed)
			}
		})
	}
}
