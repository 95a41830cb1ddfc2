package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// fickle is an upstream that responds to one request of each connection, as if it would keep the connection, and then closes it and sends
// to closed. seen counts the requests that it has read.
func fickle(t testing.TB) (address string, seen *atomic.Int64, closed <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	seen = &atomic.Int64{}
	ended := make(chan struct{}, 1000)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { conn.Close(); ended <- struct{}{} }()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				seen.Add(1)
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			}()
		}
	}()
	return ln.Addr().String(), seen, ended
}

// An endpoint may close an idle connection at any time. A request that the gateway was about to send over it has been seen by nobody, and
// must not fail, whatever its method.
func TestNoRequestFailsOnAConnectionThatItsEndpointHasClosed(t *testing.T) {
	b := start(t, Options{})
	address, seen, closed := fickle(t)
	b.push(plain(t), res(t, resource.ClusterType, "c", newCluster("c")), endpoints(t, "c", group(0, "pods", address)),
		routes(t, vhost("h", "*", to(prefix("/"), "c", retries("connect-failure,refused-stream", 2)))))
	url := "http://" + b.address("http") + "/"
	sent := int64(0)
	for _, size := range []int{0, 1, 5000, 30_000, 200_000} {
		text := strings.Repeat("x", size)
		failed := 0
		for i := range 300 {
			var body io.Reader = strings.NewReader(text)
			if i%2 == 1 {
				body = io.MultiReader(body) // of unknown length
			}
			res, err := noRedirects.Post(url, "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 200 || string(got) != text || err != nil {
				failed++
			}
			sent++
			<-closed
		}
		if failed > 0 {
			t.Errorf("of 300 requests with bodies of %d bytes %d failed", size, failed)
		}
	}
	if n := seen.Load(); n != sent {
		t.Errorf("the upstream has seen %d requests, %d were sent", n, sent)
	}
}

func TestRequestsInFlightStayWithTheirEndpoint(t *testing.T) {
	b := start(t, Options{})
	first, second := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.WriteHeader(http.StatusOK)
		_ = control.Flush()
		for p := make([]byte, 1); ; _ = control.Flush() {
			if _, err := r.Body.Read(p); err != nil {
				return
			}
			_, _ = w.Write(p)
		}
	}), upstream(t, says("second"))
	cluster := res(t, resource.ClusterType, "c", newCluster("c"))
	b.push(plain(t), cluster, endpoints(t, "c", group(0, "pods", first)), routes(t, vhost("h", "*", to(prefix("/"), "c"))))
	body, feed := io.Pipe()
	res, err := noRedirects.Post("http://"+b.address("http")+"/", "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for i := range 20 {
		group := group(uint32(i%2), "pods", second)
		if i%2 == 1 {
			group.Locality.Zone = "activator"
		}
		b.push(endpoints(t, "c", group))
		b.get("http://h/").want(t, 200, "second")
		if _, err := io.WriteString(feed, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	feed.Close()
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("in the end came %q, %v", rest, err)
	}
}
