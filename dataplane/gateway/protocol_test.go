package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func h2cClient() *http.Client {
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: t, Timeout: waitLimit}
}

func TestHTTP1AndH2CInAndOut(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Proto, body)
	})
	b.push(all(one(plain(t)), backend(t, "one", addr), h2cBackend(t, "two", addr),
		one(routes(t, vhost("h", "*", to(prefix("/one"), "one"), to(prefix("/two"), "two")))))...)
	for in, client := range map[string]*http.Client{"HTTP/1.1": noRedirects, "HTTP/2.0": h2cClient()} {
		for path, out := range map[string]string{"/one": "HTTP/1.1", "/two": "HTTP/2.0"} {
			res, err := client.Post("http://"+b.address("http")+path, "text/plain", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.Proto != in || string(body) != out+" body" {
				t.Errorf("%s to %s: got %s %q", in, out, res.Proto, body)
			}
		}
		client.CloseIdleConnections()
	}
}

// grpcServer answers unary calls with their payload and trailers, and streams back what it gets.
type grpcServer struct {
	testpb.UnimplementedTestServiceServer
}

func (grpcServer) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "set"))
	if r.GetResponseStatus() != nil {
		return nil, status.Error(codes.Code(r.GetResponseStatus().GetCode()), r.GetResponseStatus().GetMessage())
	}
	return &testpb.SimpleResponse{Payload: r.GetPayload()}, nil
}

func (grpcServer) FullDuplexCall(s testpb.TestService_FullDuplexCallServer) error {
	for {
		r, err := s.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

func TestGRPC(t *testing.T) {
	b := start(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, grpcServer{})
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(server.Stop)
	onlyGRPC := prefix("/")
	onlyGRPC.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	b.push(all(one(plain(t)), h2cBackend(t, "grpc", ln.Addr().String()), backend(t, "empty"),
		one(routes(t, vhost("empty", "empty.test", to(prefix("/"), "empty")), vhost("h", "*", to(onlyGRPC, "grpc")))))...)
	dial := func(authority string) testpb.TestServiceClient {
		conn, err := grpc.NewClient(b.address("http"), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithAuthority(authority))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return testpb.NewTestServiceClient(conn)
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	client := dial("h")
	var trailer metadata.MD
	got, err := client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: []byte("hello")}}, grpc.Trailer(&trailer))
	if err != nil || string(got.GetPayload().GetBody()) != "hello" || trailer.Get("x-trailer") == nil {
		t.Errorf("unary: %v, %v, trailer %v", got, err, trailer)
	}
	_, err = client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(codes.DataLoss), Message: "lost"}})
	if status.Code(err) != codes.DataLoss || status.Convert(err).Message() != "lost" {
		t.Errorf("an error came as %v", err)
	}
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // each answer is awaited before the next message: nothing may be held back
		want := fmt.Sprint("message ", i)
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte(want)}}); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil || string(got.GetPayload().GetBody()) != want {
			t.Fatalf("got %v, %v, want %s", got, err, want)
		}
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	_, err = dial("empty.test").UnaryCall(ctx, &testpb.SimpleRequest{})
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "no healthy upstream" {
		t.Errorf("without endpoints: %v", err)
	}
}

func TestWebSocket(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
	off := to(prefix("/off"), "one", func(a *routev3.RouteAction) {
		a.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{UpgradeType: "websocket", Enabled: wrapperspb.Bool(false)}}
	})
	b.push(all(one(plain(t)), backend(t, "one", addr), h2cBackend(t, "two", addr),
		one(routes(t, vhost("h", "*", off, to(prefix("/one"), "one", timeout(time.Second)), to(prefix("/two"), "two")))))...)
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	for _, path := range []string{"/one", "/two"} {
		conn, _, err := websocket.Dial(ctx, "ws://"+b.address("http")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			want := fmt.Sprint("message ", i)
			if err := conn.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
				t.Fatalf("got %q, %v, want %q", got, err, want)
			}
			time.Sleep(60 * time.Millisecond) // in all longer than the timeout of the route, which does not count after the upgrade
		}
		conn.CloseNow()
	}
	if _, res, err := websocket.Dial(ctx, "ws://"+b.address("http")+"/off", nil); err == nil || res == nil ||
		res.StatusCode != http.StatusForbidden {
		t.Errorf("an upgrade that is turned off gave %v, %v; want 403", res, err)
	}
	if got := b.get("http://h/one", "Connection", "Upgrade, HTTP2-Settings",
		"Upgrade", "h2c", "HTTP2-Settings", "x"); got.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("an offer of h2c got %d; it should have been left out and answered by the upstream with 426", got.StatusCode)
	}
}

func TestHTTP1StreamsBothWays(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.WriteHeader(200)
		_ = c.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintln(w, "echo", lines.Text())
			_ = c.Flush()
		}
	})
	b.push(all(one(plain(t)), backend(t, "echo", addr), one(routes(t, vhost("h", "*", to(prefix("/"), "echo")))))...)
	body, feed := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, "http://"+b.address("http"), body)
	res, err := noRedirects.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answers := bufio.NewScanner(res.Body)
	for i := range 20 {
		fmt.Fprintln(feed, i)
		if !answers.Scan() || answers.Text() != fmt.Sprint("echo ", i) {
			t.Fatalf("got %q, %v", answers.Text(), answers.Err())
		}
	}
	feed.Close()
	if answers.Scan() {
		t.Errorf("more came than was sent: %q", answers.Text())
	}
}

func TestResponsesArrivePieceByPiece(t *testing.T) {
	b := start(t, Options{})
	next := make(chan struct{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("length") {
			w.Header().Set("Content-Length", "10")
		}
		for i := range 10 {
			fmt.Fprint(w, i)
			_ = http.NewResponseController(w).Flush()
			<-next // the client has it
		}
	})
	b.push(all(one(plain(t)), backend(t, "one", addr), h2cBackend(t, "two", addr),
		one(routes(t, vhost("h", "*", to(prefix("/one"), "one"), to(prefix("/two"), "two")))))...)
	for _, client := range []*http.Client{noRedirects, h2cClient()} {
		for _, path := range []string{"/one", "/two", "/one?length", "/two?length"} {
			res, err := client.Get("http://" + b.address("http") + path)
			if err != nil {
				t.Fatal(err)
			}
			piece := make([]byte, 1)
			for i := range 10 {
				if _, err := io.ReadFull(res.Body, piece); err != nil || string(piece) != fmt.Sprint(i) {
					t.Fatalf("%s: got %q, %v", path, piece, err)
				}
				next <- struct{}{}
			}
			res.Body.Close()
		}
		client.CloseIdleConnections()
	}
}

func TestTrailersBothWays(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, len(body))
		w.Header().Set("X-Sum", "got "+r.Trailer.Get("X-Check"))
	})
	b.push(all(one(plain(t)), backend(t, "one", addr), h2cBackend(t, "two", addr),
		one(routes(t, vhost("h", "*", to(prefix("/one"), "one"), to(prefix("/two"), "two")))))...)
	for _, path := range []string{"/one", "/two"} {
		req, _ := http.NewRequest(http.MethodPost, "http://h"+path, io.NopCloser(strings.NewReader("12345")))
		req.Trailer = http.Header{"X-Check": {"abc"}}
		got := b.do(req)
		got.want(t, 200, "5")
		if got.Trailer.Get("X-Sum") != "got abc" {
			t.Errorf("%s: trailers %v", path, got.Trailer)
		}
	}
}

func TestExpectContinueWaitsForTheUpstream(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "too large", http.StatusExpectationFailed)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	b.push(all(one(plain(t)), backend(t, "one", addr), one(routes(t, vhost("h", "*", to(prefix("/"), "one")))))...)
	for path, want := range map[string]string{"/yes": "HTTP/1.1 100 Continue", "/no": "HTTP/1.1 417 Expectation Failed"} {
		conn, err := net.Dial("tcp", b.address("http"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(waitLimit))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", path)
		reader := bufio.NewReader(conn)
		line, err := reader.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Errorf("%s: got %q, %v, want %q", path, line, err, want)
		}
		if path == "/yes" {
			_, _ = reader.ReadString('\n')
			_, _ = io.WriteString(conn, "body")
			res, err := http.ReadResponse(reader, nil)
			if err != nil || res.StatusCode != 200 {
				t.Errorf("after the body: %v, %v", res, err)
			}
		}
		conn.Close()
	}
}

func TestLargeBodies(t *testing.T) {
	b := start(t, Options{})
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	b.push(all(one(plain(t)), h2cBackend(t, "two", addr), one(routes(t, vhost("h", "*", to(prefix("/"), "two")))))...)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	for _, client := range []*http.Client{noRedirects, h2cClient()} {
		res, err := client.Post("http://"+b.address("http"), "", bytes.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: %d of %d bytes came back: %v", res.Proto, len(got), len(sent), err)
		}
		client.CloseIdleConnections()
	}
}
