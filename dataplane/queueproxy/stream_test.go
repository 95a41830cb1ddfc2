package queueproxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
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

func echoWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

func TestWebSocketPasses(t *testing.T) {
	target := application(t, http.HandlerFunc(echoWebSocket))
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			_, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			conn, _, err := websocket.Dial(ctx, "ws://"+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			for i := range 3 {
				want := fmt.Sprint("message ", i)
				if err := conn.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
					t.Fatal(err)
				}
				if _, got, err := conn.Read(ctx); err != nil || string(got) != want {
					t.Fatalf("got %q, %v", got, err)
				}
			}
		})
	}
}

func TestGRPCPassesWithTrailers(t *testing.T) {
	server := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("mine", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	_, address := serve(t, queueproxy.Options{Target: application(t, server), Protocol: model.H2C})

	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := grpc_health_v1.NewHealthClient(conn)
	reply, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "mine"})
	if err != nil || reply.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", reply, err)
	}
	if _, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("the status that travels in the trailer: got %v, want NotFound", err)
	}
	stream, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{
		grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING,
	} {
		if got, err := stream.Recv(); err != nil || got.Status != want {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
		checks.SetServingStatus("mine", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
}

// TestResponsesAreFlushedAtOnce: the application writes a line and waits until the client has it.
func TestResponsesAreFlushedAtOnce(t *testing.T) {
	next := make(chan struct{})
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			w.Header().Set("Content-Length", "21")
		}
		for i := range 3 {
			fmt.Fprintf(w, "line %d\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}))
	for _, path := range []string{"/known", "/unknown"} {
		for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
			t.Run(string(protocol)+path, func(t *testing.T) {
				_, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol})
				response, err := client(t, protocol).Get("http://" + address + path)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				lines := bufio.NewReader(response.Body)
				for i := range 3 {
					line, err := lines.ReadString('\n')
					if want := fmt.Sprintf("line %d\n", i); err != nil || line != want {
						t.Fatalf("got %q, %v; want %q", line, err, want)
					}
					next <- struct{}{}
				}
			})
		}
	}
}

// TestFullDuplexEchoesWhileTheRequestIsSent: the client sends the next line only when the last one has come back.
func TestFullDuplexEchoesWhileTheRequestIsSent(t *testing.T) {
	target := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		controller := http.NewResponseController(w)
		if r.ProtoMajor == 1 {
			_ = controller.EnableFullDuplex()
		}
		_ = controller.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			fmt.Fprintln(w, lines.Text())
			_ = controller.Flush()
		}
	}))
	for _, protocol := range []model.Protocol{model.HTTP1, model.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			_, address := serve(t, queueproxy.Options{Target: target, Protocol: protocol})
			reader, writer := io.Pipe()
			response, err := client(t, protocol).Post("http://"+address, "text/plain", reader)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			lines := bufio.NewReader(response.Body)
			for i := range 3 {
				want := fmt.Sprintf("line %d\n", i)
				if _, err := io.WriteString(writer, want); err != nil {
					t.Fatal(err)
				}
				if got, err := lines.ReadString('\n'); err != nil || got != want {
					t.Fatalf("got %q, %v; want %q", got, err, want)
				}
			}
			writer.Close()
		})
	}
}
