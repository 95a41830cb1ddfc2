package queueproxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

func TestHeaderLimitsAnswer431(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_, address := serve(t, queueproxy.Options{Target: target})
	for name, test := range map[string]struct {
		count, size, want int
	}{
		"an ordinary request":   {100, 10, 200},
		"a thousand headers":    {1000, 1, 431},
		"ten thousand headers":  {10000, 1, 431},
		"one header of 100 KiB": {1, 100 << 10, 431},
	} {
		for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
			t.Run(name+" "+string(protocol), func(t *testing.T) {
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
				for i := range test.count {
					r.Header.Set(fmt.Sprint("X-", i), strings.Repeat("x", test.size))
				}
				response, err := client(t, protocol).Do(r)
				if err != nil {
					if protocol == model.H2C && test.want == 431 {
						return // the client heeds the limit that the server announced, and sends nothing
					}
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != test.want {
					t.Errorf("got %d, want %d", response.StatusCode, test.want)
				}
			})
		}
	}
}

func TestSlowHeaderEndsTheConnection(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	limits := queueproxy.Limits{ReadHeader: 200 * time.Millisecond, IdleConnection: 200 * time.Millisecond}
	_, address := serve(t, queueproxy.Options{Target: target, Limits: limits})
	for name, start := range map[string]string{
		"slow-loris":        "GET / HTTP/1.1\r\nHost: a\r\n",
		"nothing at all":    "",
		"idle after a call": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, start); err != nil {
				t.Fatal(err)
			}
			stop := time.AfterFunc(5*time.Second, func() { conn.Close() })
			defer stop.Stop()
			go func() { // a byte now and then must not keep the connection alive
				for name == "slow-loris" {
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			}()
			if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "closed network") {
				t.Error("the connection was still open after 5 s")
			}
		})
	}
}
