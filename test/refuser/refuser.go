// Package refuser is an HTTP/2 server that reads whole requests and then refuses them as not processed.
package refuser

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// Listen serves h2c on a loopback address until the test ends. It calls refuse with each stream whose request it has read.
func Listen(t testing.TB, refuse func(f *http2.Framer, stream uint32) error) (address string) {
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
				if err := serve(conn, refuse); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Log(err)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// serve serves a connection until it ends, and returns why it ended.
func serve(conn net.Conn, refuse func(*http2.Framer, uint32) error) error {
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
				err = refuse(f, frame.StreamID)
			}
		}
		if err != nil {
			return err
		}
	}
}
