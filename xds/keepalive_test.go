package xds_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"sluice.dev/sluice/xds"
)

// TestClientsMayAskEvery5Seconds asks as often as Envoy does with the bootstrap that it gets. By default gRPC ends the connection of a
// client that asks more than every five minutes.
func TestClientsMayAskEvery5Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(64 << 10)
		server := grpc.NewServer(xds.ServerOptions()...)
		go func() { _ = server.Serve(listener) }()
		defer server.Stop()
		conn, err := listener.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		framer := http2.NewFramer(conn, conn)
		if err := framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		acks, away := make(chan [8]byte, 100), make(chan string, 1)
		go func() {
			for {
				frame, err := framer.ReadFrame()
				if err != nil {
					return
				}
				switch frame := frame.(type) {
				case *http2.PingFrame:
					if frame.IsAck() {
						acks <- frame.Data
					}
				case *http2.GoAwayFrame:
					away <- string(frame.DebugData())
				}
			}
		}()
		for n := range byte(20) {
			time.Sleep(5 * time.Second)
			if err := framer.WritePing(false, [8]byte{n}); err != nil {
				t.Fatal(err)
			}
			select {
			case ack := <-acks:
				if ack[0] != n {
					t.Errorf("got an answer to %d, want one to %d", ack[0], n)
				}
			case why := <-away:
				t.Fatalf("the server ends the connection after %d: %s", n, why)
			}
		}
	})
}
