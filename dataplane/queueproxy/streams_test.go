package queueproxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// watch opens a gRPC stream that stays open, and reads its first message.
func watch(t *testing.T, address string) grpc_health_v1.Health_WatchClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// realGRPC returns the address of a server of gRPC's own, which unlike one behind net/http announces no trailers.
func realGRPC(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func behindNetHTTP(t *testing.T) string {
	t.Helper()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	return application(t, server)
}

func openWebSocket(t *testing.T, address string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

func TestStreamsAreCountedApart(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			echoWebSocket(w, r)
			return
		}
		hanging(w, r)
	}))
	p, address := serve(t, queueproxy.Options{Target: target})
	// An offer of h2c that the application ignores, as curl makes it, is no stream.
	ordinary, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ordinary.Close()
	_, err = io.WriteString(ordinary, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"K-Proxy-Request": {"activator"}}
	conn, _, err := websocket.Dial(t.Context(), "ws://"+address, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	eventually(t, "one of the two in flight is a stream", func() bool {
		l := p.Load()
		return l.InFlight == 2 && l.ProxiedInFlight == 1 && l.StreamsInFlight == 1 && l.ProxiedStreamsInFlight == 1
	})
	conn.CloseNow()
	eventually(t, "the stream is over", func() bool { l := p.Load(); return l.InFlight == 1 && l.StreamsInFlight == 0 })
	l := p.Load()
	if l.Streams <= 0 || l.Streams != l.ProxiedStreams || l.Streams > l.Concurrency || l.Uptime <= 0 {
		t.Errorf("load %+v", l)
	}

	grpcProxy, grpcAddress := serve(t, queueproxy.Options{Target: realGRPC(t), Protocol: model.H2C})
	watch(t, grpcAddress)
	if l := grpcProxy.Load(); l.StreamsInFlight != 1 || l.InFlight != 1 || l.ProxiedStreamsInFlight != 0 {
		t.Errorf("with a gRPC stream: %+v", l)
	}
}

// TestStreamsDrainToTheirDeadline: 20 WebSockets and 20 gRPC streams go on during the drain, then end as each kind
// should, while an ordinary request gets its answer after all of them.
func TestStreamsDrainToTheirDeadline(t *testing.T) {
	const each, deadline = 20, 500 * time.Millisecond
	finish := make(chan struct{})
	web := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-finish
			return
		}
		echoWebSocket(w, r)
	}))
	webProxy, webAddress := serve(t, queueproxy.Options{Target: web, StreamDrain: deadline, Quiet: 50 * time.Millisecond})
	for name, rpc := range map[string]string{"gRPC's server": realGRPC(t), "net/http's server": behindNetHTTP(t)} {
		p, address := serve(t, queueproxy.Options{Target: rpc, Protocol: model.H2C, StreamDrain: deadline, Quiet: 50 * time.Millisecond})
		var streams []grpc_health_v1.Health_WatchClient
		for range each {
			streams = append(streams, watch(t, address))
		}
		began := time.Now()
		if err := p.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: Shutdown: %v", name, err)
		}
		if took := time.Since(began); took < deadline {
			t.Errorf("%s: the streams had only %v", name, took)
		}
		for _, stream := range streams {
			if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("%s: a stream ended with %v, want Unavailable", name, err)
			}
		}
	}

	var sockets []*websocket.Conn
	for range each {
		sockets = append(sockets, openWebSocket(t, webAddress))
	}
	slow := make(chan answer, 1)
	go func() { slow <- get(t, client(t, model.HTTP1), "http://"+webAddress+"/slow") }()
	eventually(t, "all are there", func() bool { l := webProxy.Load(); return l.InFlight == each+1 && l.StreamsInFlight == each })
	ended := make(chan error, 1)
	go func() { ended <- webProxy.Shutdown(t.Context()) }()
	eventually(t, "the drain has begun", webProxy.Draining)
	for _, conn := range sockets {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "still here" {
			t.Errorf("during the drain: %q, %v", got, err)
		}
	}
	for _, conn := range sockets {
		if _, _, err := conn.Read(t.Context()); err == nil {
			t.Error("a WebSocket outlived its deadline")
		}
	}
	eventually(t, "the ordinary request alone is left", func() bool { return webProxy.Load().InFlight == 1 })
	close(finish)
	if got := <-slow; got.Status != 200 {
		t.Errorf("the ordinary request got %v", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// TestStreamsThatDoNotReadAreCutToo: a client that reads nothing blocks the writes to it.
func TestStreamsThatDoNotReadAreCutToo(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 64<<10)
		if r.Header.Get("Upgrade") != "" {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			for err == nil {
				_, err = conn.Write(chunk)
			}
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		for err := error(nil); err == nil; {
			_, err = w.Write(chunk)
		}
	}))
	for name, header := range map[string]string{
		"upgraded": "Connection: Upgrade\r\nUpgrade: x\r\n", "grpc-web": "Content-Type: application/grpc-web\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p, address := serve(t, queueproxy.Options{Target: target, StreamDrain: 50 * time.Millisecond, Quiet: 10 * time.Millisecond})
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"+header+"\r\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is in flight", func() bool { return p.Load().StreamsInFlight == 1 })
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if err := p.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
}

func TestGRPCThatArrivesTooLateIsUnavailable(t *testing.T) {
	finish := make(chan struct{})
	slow := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	p, address := serve(t, queueproxy.Options{Target: slow, Protocol: model.H2C, Quiet: time.Millisecond, StreamDrain: time.Millisecond})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		failed <- err
	}()
	eventually(t, "the call is in flight", func() bool { return p.Load().StreamsInFlight == 1 })
	if err := p.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-failed; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	close(finish)
}

func TestDrainEndsWithResume(t *testing.T) {
	target := application(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	p, address := serve(t, queueproxy.Options{Target: target, Quiet: 10 * time.Millisecond})
	c := client(t, model.HTTP1)
	probe := func() answer { return readiness(p) }
	if err := p.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := probe(); got != shuttingDown {
		t.Errorf("draining: %v", got)
	}
	if got := get(t, c, "http://"+address); got.Status != 200 {
		t.Errorf("draining, a request got %v", got)
	}
	p.Resume()
	if got := probe(); got.Status != 200 {
		t.Errorf("resumed: %v", got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrUnexpectedEOF)
	if err := p.Drain(ctx); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Drain with an ended context: %v", err)
	}
}

func TestTrailersPassInBothProtocols(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Announced")
		_, _ = w.Write(bytes.ToUpper(body))
		w.Header().Set("X-Announced", r.Trailer.Get("X-Sent"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "late")
	}))
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			_, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol})
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, io.NopCloser(strings.NewReader("body")))
			r.Trailer = http.Header{"X-Sent": {"sent"}}
			response, err := client(t, protocol).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			got := []string{string(body), response.Trailer.Get("X-Announced"), response.Trailer.Get("X-Late")}
			if err != nil || strings.Join(got, " ") != "BODY sent late" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestCutStreamsDoesNotCutLaterStreams: a revision that loses its streams may be routed to again.
func TestCutStreamsDoesNotCutLaterStreams(t *testing.T) {
	p, address := serve(t, queueproxy.Options{Target: application(t, http.HandlerFunc(echoWebSocket))})
	before := openWebSocket(t, address)
	p.CutStreams()
	if _, _, err := before.Read(t.Context()); err == nil {
		t.Error("a stream was not cut")
	}
	after := openWebSocket(t, address)
	if err := after.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := after.Read(t.Context()); err != nil || string(got) != "hello" {
		t.Errorf("a stream that came afterwards: %q, %v", got, err)
	}
}
