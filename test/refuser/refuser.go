// Package refuser is an HTTP/2 server that reads whole requests and then says that it did not look at them. It answers none.
package refuser

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// Listen serves h2c on a loopback address until the test ends. say is called with each stream whose request has been read.
func Listen(t testing.TB, say func(f *http2.Framer, stream uint32) error) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if err := turnAway(conn, say); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Log(err)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// turnAway serves a connection to its end, and says what ended it.
func turnAway(conn net.Conn, say func(*http2.Framer, uint32) error) error {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	f := http2.NewFramer(conn, conn)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if n := frame.Length; n > 0 {
				err = f.WriteWindowUpdate(0, n)
			}
			if err == nil && frame.StreamEnded() {
				err = say(f, frame.StreamID)
			}
		}
		if err != nil {
			return err
		}
	}
}
