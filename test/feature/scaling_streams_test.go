package feature

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// long are streams to one Service that go on until they are cut.
type long struct {
	s     *instance
	host  string
	alive atomic.Int64 // streams that have had a response
	group sync.WaitGroup

	mu  sync.Mutex
	cut []time.Time // when each ended
	why []error
}

func (l *long) ended(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.why = append(l.cut, time.Now()), append(l.why, why)
}

// webSockets opens so many WebSockets. Each gets an echo five times a second.
func (s *instance) webSockets(host string, n int) *long {
	l := &long{s: s, host: host}
	for i := range n {
		l.group.Go(func() { l.ended(l.echo(i)) })
	}
	return l
}

func (l *long) echo(number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	transport := &http.Transport{DialContext: via(l.s.gateway, nil).Transport.(*http.Transport).DialContext}
	conn, _, err := websocket.Dial(ctx, "ws://"+l.host+"/echo", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return fmt.Errorf("opening a WebSocket: %w", err)
	}
	defer func() { _ = conn.CloseNow() }()
	for i := 0; ; i++ {
		want := fmt.Sprintf("message %d of %d", i, number)
		if err := conn.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			return err
		}
		if _, got, err := conn.Read(ctx); err != nil {
			return err
		} else if string(got) != want {
			return fmt.Errorf("the echo of %q is %q", want, got)
		}
		if i == 0 {
			l.alive.Add(1)
		}
		time.Sleep(200 * time.Millisecond) // between two messages
	}
}

// watches opens so many gRPC streams over a few connections.
func (s *instance) watches(host string, n, connections int) *long {
	l := &long{s: s, host: host}
	for range connections {
		conn, err := grpc.NewClient("passthrough:///"+s.gateway, grpc.WithAuthority(host),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { conn.Close() })
		for range n / connections {
			l.group.Go(func() { l.ended(l.watch(grpc_health_v1.NewHealthClient(conn))) })
		}
	}
	return l
}

func (l *long) watch(client grpc_health_v1.HealthClient) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		l.alive.Add(1)
	}
}

// open waits until so many streams have had a response.
func (l *long) open(n int) {
	l.s.t.Helper()
	eventually(l.s.t, fmt.Sprintf("%d streams to %s are open", n, l.host), func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.why) > 0 {
			return fmt.Errorf("one has ended: %w", l.why[0])
		}
		if alive := l.alive.Load(); alive < int64(n) {
			return fmt.Errorf("%d are", alive)
		}
		return nil
	})
}

// over checks that all streams have been cut, none before its deadline, and returns when, as times after began.
func (l *long) over(n int, began time.Time, least time.Duration) (first, last time.Duration) {
	l.s.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.group.Wait()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		l.s.t.Fatalf("streams to %s go on after their deadline", l.host)
	}
	if len(l.cut) != n {
		l.s.t.Errorf("%d streams to %s ended, want %d", len(l.cut), l.host, n)
	}
	early := 0
	for i, at := range l.cut {
		if at.Sub(began) < least {
			early++
			l.s.t.Logf("a stream to %s was cut %v after the change: %v", l.host, at.Sub(began), l.why[i])
		}
	}
	if early > 0 {
		l.s.t.Errorf("%d of %d streams to %s were cut before %v", early, n, l.host, least)
	}
	return slices.MinFunc(l.cut, time.Time.Compare).Sub(began), slices.MaxFunc(l.cut, time.Time.Compare).Sub(began)
}

func TestStreamsSurviveARolloutUntilTheirDeadline(t *testing.T) {
	onEachGateway(t, streamsSurviveARolloutUntilTheirDeadline)
}

func streamsSurviveARolloutUntilTheirDeadline(t *testing.T, g gateway) {
	const sockets, watches, deadline = 200, 50, 8 * time.Second
	s := g.up(t, "--config", configFile(t, quickToZero))
	direct := asleep("sluice.dev/stream-drain-seconds", "8", "autoscaling.knative.dev/target-burst-capacity", "0")
	proxied := asleep("sluice.dev/stream-drain-seconds", "8", "autoscaling.knative.dev/target-burst-capacity", "-1")
	rpc := newApp(t, "rpc", proxied)
	rpc.Spec.Template.Spec.Containers[0].Ports = []servingv1.ContainerPort{{Name: "h2c", ContainerPort: 8080}}
	s.create(newApp(t, "socket", direct), newApp(t, "held", proxied), rpc)

	streams := map[string]*long{
		"socket": s.webSockets("socket.default.localhost", sockets/2),
		"held":   s.webSockets("held.default.localhost", sockets/2),
		"rpc":    s.watches("rpc.default.localhost", watches, 5),
	}
	counts := map[string]int{"socket": sockets / 2, "held": sockets / 2, "rpc": watches}
	for name, l := range streams {
		l.open(counts[name])
	}
	time.Sleep(3 * time.Second) // the streams go on meanwhile, and the metrics count them
	began := time.Now()
	for name := range streams {
		s.change(name, func(o *servingv1.Service) {
			o.Spec.Template.Spec.Containers[0].Env = []servingv1.EnvVar{{Name: "VERSION", Value: "two"}}
		})
	}
	for name := range streams {
		s.ready(name)
	}
	for _, name := range []string{"socket", "held"} {
		if status, body, err := s.get(name+".default.localhost", "/"); err != nil || status != 200 ||
			!strings.Contains(body, name+"-00002") {
			t.Errorf("a new request to %s got status %d, %v: %s", name, status, err, body)
		}
	}
	for name, l := range streams {
		first, last := l.over(counts[name], began, deadline)
		t.Logf("%s: %d streams were cut %.1f to %.1f s after the change, by: %v",
			name, len(l.cut), first.Seconds(), last.Seconds(), l.why[0])
		s.scaledTo(name+"-00001", 0)
	}
}
