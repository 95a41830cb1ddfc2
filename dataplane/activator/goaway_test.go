package activator

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
)

// turnsAway is a replica that reads whole requests over HTTP/2 and then says that it will not look at them.
func turnsAway(t testing.TB, say func(f *http2.Framer, stream uint32) error) (address string) {
	t.Helper()
	ln := listener(t)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if err := turnAway(conn, say); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Log(err)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

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

// Requests whose bodies have been sent go to another replica when the first has said that it did not look at them.
func TestWhatAReplicaDidNotLookAtGoesToAnother(t *testing.T) {
	for name, say := range map[string]func(f *http2.Framer, stream uint32) error{
		"refused": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"going": func(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, Options{})
			b.set(cluster, facts{}, turnsAway(t, say), addressOf(plain(t, echo)))
			client := clients(t)["h2c"]
			text := strings.Repeat("x", 20_000)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 20 {
						do(client, b.request(http.MethodPost, "/", strings.NewReader(text))).want(t, 200, text)
					}
				})
			}
			wg.Wait()
			if s := b.activator.Stats(); s.Retried == 0 {
				t.Error("no request was sent again")
			}
		})
	}
}

// A replica closes its connections in order, again and again, while requests with bodies are on their way to it.
func TestGoingAwayLosesNoRequestWithABody(t *testing.T) {
	b := start(t, Options{})
	var served atomic.Int64
	b.set(cluster, facts{}, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1)%50 == 0 {
			w.Header().Set("Connection", "close") // makes net/http send GOAWAY
		}
		_, _ = io.Copy(w, r.Body)
	})))
	client := clients(t)["h2c"]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				do(client, b.request(http.MethodPost, "/", strings.NewReader("a little body"))).want(t, 200, "a little body")
			}
		})
	}
	wg.Wait()
	if b.activator.Stats().Retried == 0 {
		t.Error("no request was sent again")
	}
}
