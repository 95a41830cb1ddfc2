package feature

import (
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestWebSocketsOutliveTheTimeoutsOfRequests(t *testing.T) {
	onEachGateway(t, webSocketsOutliveTheTimeoutsOfRequests)
}

// webSocketsOutliveTheTimeoutsOfRequests opens one WebSocket through the activator and one past it. It uses both for longer than any hop
// would let a request take: the gateway gives up two seconds after timeoutSeconds.
func webSocketsOutliveTheTimeoutsOfRequests(t *testing.T, g gateway) {
	start, timeout := int64(1), int64(2)
	s := g.up(t)
	for name, burst := range map[string]string{"held": "-1", "direct": "0"} {
		service := newApp(t, name, map[string]string{"autoscaling.knative.dev/target-burst-capacity": burst})
		service.Spec.Template.Spec.TimeoutSeconds, service.Spec.Template.Spec.ResponseStartTimeoutSeconds = &timeout, &start
		s.create(service)
	}
	conns := map[string]*websocket.Conn{}
	for _, name := range []string{"held", "direct"} {
		if status, body, err := s.get(name+".default.localhost", "/"); err != nil || status != 200 { // after that it has a replica
			t.Fatalf("%s: %d %s, %v", name, status, body, err)
		}
		conn, _, err := websocket.Dial(t.Context(), "ws://"+name+".default.localhost/echo",
			&websocket.DialOptions{HTTPClient: via(s.gateway, nil)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		conns[name] = conn
	}
	for until := time.Now().Add(time.Duration(3*timeout) * time.Second); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		for name, conn := range conns {
			if err := conn.Write(t.Context(), websocket.MessageText, []byte("ping")); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "ping" {
				t.Fatalf("%s: got %q, %v", name, got, err)
			}
		}
	}
}
