package activator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// clients are one for each protocol that a gateway may speak.
func clients(t *testing.T) map[string]*http.Client {
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	all := map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{}}, "h2c": {Transport: h2}}
	for _, c := range all {
		t.Cleanup(c.CloseIdleConnections)
	}
	return all
}

func TestHeadersThatAreForwarded(t *testing.T) {
	b := start(t, Options{})
	seen := make(chan *http.Request, 1)
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Clone(context.Background())
		w.Header().Set("X-App", "yes")
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "X-Hop")
			w.Header().Set("X-Hop", "no")
		}
		w.WriteHeader(418)
	})))
	for name, c := range clients(t) {
		req := b.request(http.MethodGet, "/a%2Fb//c?x=1;y&z", nil, "X-Forwarded-For", "1.2.3.4", "Forwarded", "for=1.2.3.4",
			"X-Twice", "1", "X-Twice", "2", "K-Proxy-Request", "forged", "Sluice-Timing", "1")
		if name == "HTTP/1.1" {
			req.Header.Set("Connection", "X-Mine")
			req.Header.Set("X-Mine", "no")
		}
		req.Header["User-Agent"] = nil
		a := do(c, req)
		a.want(t, 418, "")
		if a.Header.Get("X-App") != "yes" || a.Header.Get("X-Hop") != "" || a.Header.Get("Server-Timing") == "" {
			t.Errorf("%s: response %v", name, a.Header)
		}
		r := <-seen
		if r.RequestURI != "/a%2Fb//c?x=1;y&z" || r.Host != "hello.default.example.com" || r.Proto != a.Proto {
			t.Errorf("%s: the replica got %s %s %s", name, r.Proto, r.Host, r.RequestURI)
		}
		for key, want := range map[string]string{
			"K-Proxy-Request": "activator", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4", "X-Twice": "1,2", "User-Agent": "",
			"Knative-Serving-Revision": "hello-00001", "Knative-Serving-Namespace": "default", "Sluice-Timing": "", "X-Mine": "",
		} {
			if got := strings.Join(r.Header[key], ","); got != want {
				t.Errorf("%s: the replica got %s: %q, want %q", name, key, got, want)
			}
		}
	}
}

func TestShortResponseKeepsUnannouncedTrailers(t *testing.T) {
	b := start(t, Options{})
	ln := listener(t)
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\nX-Sum: 5\r\n\r\n")
		_, _ = conn.Read(make([]byte, 1)) // until the activator closes it
	}()
	b.set(cluster, nil, ln.Addr().String())
	res, err := b.client.Do(b.request(http.MethodGet, "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if string(body) != "short" || err != nil || res.Trailer.Get("X-Sum") != "5" {
		t.Errorf("got %q, %v with trailers %v", body, err, res.Trailer)
	}
}

func TestBodiesStreamBothWaysWithTrailers(t *testing.T) {
	b := start(t, Options{})
	for name, c := range clients(t) {
		protocol := map[string]model.Protocol{"HTTP/1.1": model.HTTP1, "h2c": model.H2C}[name]
		b.set(cluster, nil, replicaOf(t, queueproxy.Options{Protocol: protocol}, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Trailer", "X-Sum")
			_ = http.NewResponseController(w).Flush()
			n := 0
			for lines := bufio.NewScanner(r.Body); lines.Scan(); n++ {
				fmt.Fprintln(w, "echo", lines.Text())
				_ = http.NewResponseController(w).Flush()
			}
			w.Header().Set("X-Sum", fmt.Sprint(n, " ", r.Trailer.Get("X-End")))
		}))
		in, out := io.Pipe()
		req := b.request(http.MethodPost, "/", in)
		req.Trailer = http.Header{"X-End": nil}
		res, err := c.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines := bufio.NewReader(res.Body)
		for i := range 3 {
			fmt.Fprintln(out, i)
			if line, err := lines.ReadString('\n'); line != fmt.Sprintf("echo %d\n", i) {
				t.Fatalf("%s: got %q, %v", name, line, err)
			}
		}
		req.Trailer.Set("X-End", "end")
		out.Close()
		rest, err := io.ReadAll(lines)
		if len(rest) > 0 || err != nil || res.Trailer.Get("X-Sum") != "3 end" {
			t.Errorf("%s: ended with %q, %v, %v", name, rest, err, res.Trailer)
		}
		res.Body.Close()
	}
}

func TestLargeBodiesComeWhole(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, facts{"concurrency": 2.0}, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})))
	large := strings.Repeat("0123456789abcdef", 1<<18)
	for name, c := range clients(t) {
		for _, known := range []bool{true, false} {
			var body io.Reader = strings.NewReader(large)
			if !known {
				body = io.MultiReader(body)
			}
			if a := do(c, b.request(http.MethodPost, "/", body)); a.err != nil || a.body != large {
				t.Errorf("%s: got %d bytes, %v", name, len(a.body), a.err)
			}
		}
	}
}

func TestContinueIsSentWhenTheReplicaWantsTheBody(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})))
	c := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: patience}}
	t.Cleanup(c.CloseIdleConnections)
	asked := 0
	traced := func(path string) *http.Request {
		req := b.request(http.MethodPost, path, io.MultiReader(strings.NewReader("the body")), "Expect", "100-continue")
		return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got100Continue: func() { asked++ }}))
	}
	do(c, traced("/take")).want(t, 200, "the body")
	do(c, traced("/refuse")).want(t, 403, "no")
	if asked != 1 {
		t.Errorf("Continue came %d times for two requests, one of which was refused", asked)
	}
}

func TestInformationalResponsesPass(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "done")
	})))
	var hints []string
	req := b.request(http.MethodGet, "/", nil)
	a := do(b.client, req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h.Get("Link")))
			return nil
		},
	})))
	a.want(t, 200, "done")
	if len(hints) != 1 || !strings.HasPrefix(hints[0], "103") || a.Header.Get("Link") != "" {
		t.Errorf("hints %v, header %v", hints, a.Header)
	}
}

func TestEarlyAnswerToAnEndlessBody(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, facts{"concurrency": 1.0}, addressOf(plain(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // or net/http would read the body first
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})))
	for range 3 { // the slot must be free again
		in, out := io.Pipe()
		a := b.later(b.request(http.MethodPost, "/", in))
		_, _ = io.WriteString(out, "and so on")
		await(t, a).want(t, 413, "too much")
		out.Close()
	}
}

func TestWebSocketPasses(t *testing.T) {
	b := start(t, Options{})
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		b.set(cluster, facts{"concurrency": 1.0, "timeout": 2.0}, replicaOf(t, queueproxy.Options{Protocol: protocol},
			func(w http.ResponseWriter, r *http.Request) {
				c, err := websocket.Accept(w, r, nil)
				if err != nil {
					return
				}
				defer c.CloseNow()
				for {
					kind, message, err := c.Read(context.Background())
					if err != nil || c.Write(context.Background(), kind, message) != nil {
						return
					}
				}
			}))
		header := b.request(http.MethodGet, "/", nil).Header
		c, _, err := websocket.Dial(t.Context(), "ws://"+b.activator.Address(), &websocket.DialOptions{HTTPHeader: header})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(t.Context()); err != nil || string(got) != "hello" {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		time.Sleep(2200 * time.Millisecond) // longer than the timeout, which is over with the response's beginning
		if err := c.Write(t.Context(), websocket.MessageText, []byte("late")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != "late" {
			t.Errorf("got %q, %v", got, err)
		}
		b.until("streams in the load", func() bool {
			for _, l := range b.loads {
				if l.Streams > 0.1 && l.Concurrency >= l.Streams {
					return true
				}
			}
			return false
		})
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Error(err)
		}
		eventually(t, "the end of the request", func() bool { return b.activator.inFlight.Load() == 0 })
	}
}

// bytesCodec passes messages as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (bytesCodec) Name() string { return "bytes" }

var _ encoding.Codec = bytesCodec{}

func TestGRPCStreamsAndStatusesPass(t *testing.T) {
	b := start(t, Options{Limits: Limits{Waiting: 1}})
	app := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		for {
			var m []byte
			if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
				s.SetTrailer(metadata.Pairs("x-trailer", "yes"))
				return status.Error(codes.AlreadyExists, "the end")
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	}))
	ln := listener(t)
	go func() { _ = app.Serve(ln) }() // until Stop
	t.Cleanup(app.Stop)
	conn, err := grpc.NewClient(b.activator.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "knative-serving-namespace", "default", "knative-serving-revision", "hello-00001")
	b.set(cluster, nil)
	call := func() (grpc.ClientStream, error) {
		return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Service/Call")
	}
	held, err := call()
	if err != nil {
		t.Fatal(err)
	}
	hello := []byte("hello")
	if err := held.SendMsg(&hello); err != nil {
		t.Fatal(err)
	}
	b.waiting(1)
	refused, err := call()
	if err == nil {
		var m []byte
		err = refused.RecvMsg(&m)
	}
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "too many requests") {
		t.Errorf("a full queue: %v", err)
	}
	b.set(cluster, nil, ln.Addr().String())
	for range 3 {
		var m []byte
		if err := held.RecvMsg(&m); err != nil || string(m) != "hello" {
			t.Fatalf("got %q, %v", m, err)
		}
		if err := held.SendMsg(&hello); err != nil {
			t.Fatal(err)
		}
	}
	_ = held.CloseSend()
	var m []byte
	_ = held.RecvMsg(&m)
	if err := held.RecvMsg(&m); status.Code(err) != codes.AlreadyExists || held.Trailer().Get("x-trailer")[0] != "yes" {
		t.Errorf("ended with %v, %v", err, held.Trailer())
	}
}

func TestCutOffResponseIsNotTakenForAWholeOne(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil, addressOf(plain(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})))
	for name, c := range clients(t) {
		if a := do(c, b.request(http.MethodGet, "/", nil)); a.err == nil {
			t.Errorf("%s: got %v without an error", name, a)
		}
	}
}

func TestReplicaThatDoesNotSpeakHTTPIsAnsweredWith502(t *testing.T) {
	b := start(t, Options{})
	for _, says := range []string{"SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20),
		"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"} {
		ln := listener(t)
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.WriteString(c, says); _, _ = io.Copy(io.Discard, c) }()
			}
		}()
		b.set(cluster, nil, ln.Addr().String())
		eventually(t, "the replica", func() bool {
			r := b.activator.revisions.find(cluster)
			return r == nil || len(r.Replicas()) == 1 && r.Replicas()[0].Address == ln.Addr().String()
		})
		a := b.get()
		a.want(t, 502, "did not answer")
		ln.Close()
	}
	if held := b.activator.Stats().Held; len(held) != 0 {
		t.Errorf("held: %v", held)
	}
}

func TestHTTP10ClientIsServed(t *testing.T) {
	b := start(t, Options{})
	b.set(cluster, nil, addressOf(plain(t, says("hello"))))
	c, err := net.Dial("tcp", b.activator.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.0\r\nKnative-Serving-Namespace: default\r\nKnative-Serving-Revision: hello-00001\r\n\r\n")
	got, _ := io.ReadAll(c)
	if !strings.Contains(string(got), "200 OK") || !strings.HasSuffix(string(got), "hello") {
		t.Errorf("got %q", got)
	}
}
