package queueproxy_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

func newProber(t testing.TB, probe model.Probe, target string, exec func(context.Context, []string) error) *queueproxy.Prober {
	t.Helper()
	p, err := queueproxy.NewProber(probe, target, exec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestChecksSeeWhatTheApplicationAnswers(t *testing.T) {
	web := application(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case r.URL.Path == "/host" && r.Host == "probe.example" && r.Header.Get("X-Key") == "yes":
		case r.URL.Path == "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	server := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("up", grpc_health_v1.HealthCheckResponse_SERVING)
	checks.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	rpc := application(t, server)
	failing := func(_ context.Context, command []string) error { return errors.New(command[0]) }
	passing := func(context.Context, []string) error { return nil }
	headers := []model.EnvVar{{Name: "host", Value: "probe.example"}, {Name: "x-key", Value: "yes"}}
	for name, test := range map[string]struct {
		probe  model.Probe
		target string
		exec   func(context.Context, []string) error
		want   bool
	}{
		"TCP, listening":         {model.Probe{TCP: true}, web, nil, true},
		"TCP, not listening":     {model.Probe{TCP: true}, freeAddress(t), nil, false},
		"HTTP 302":               {model.Probe{HTTP: &model.HTTPProbe{Path: "/moved"}}, web, nil, true},
		"HTTP 500":               {model.Probe{HTTP: &model.HTTPProbe{Path: "broken"}}, web, nil, false},
		"HTTP host and headers":  {model.Probe{HTTP: &model.HTTPProbe{Path: "/host", Headers: headers}}, web, nil, true},
		"HTTP without an answer": {model.Probe{HTTP: &model.HTTPProbe{Path: "/slow"}, Timeout: 50 * time.Millisecond}, web, nil, false},
		"gRPC serving":           {model.Probe{GRPC: &model.GRPCProbe{Service: "up"}}, rpc, nil, true},
		"gRPC server as a whole": {model.Probe{GRPC: &model.GRPCProbe{}}, rpc, nil, true},
		"gRPC not serving":       {model.Probe{GRPC: &model.GRPCProbe{Service: "down"}}, rpc, nil, false},
		"gRPC unknown service":   {model.Probe{GRPC: &model.GRPCProbe{Service: "x"}}, rpc, nil, false},
		"gRPC of a web server":   {model.Probe{GRPC: &model.GRPCProbe{}}, web, nil, false},
		"exec that succeeds":     {model.Probe{Exec: []string{"true"}}, web, passing, true},
		"exec that fails":        {model.Probe{Exec: []string{"false"}}, web, failing, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := newProber(t, test.probe, test.target, test.exec).Check(t.Context())
			if (err == nil) != test.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAwaitEndsWhenTheApplicationListens(t *testing.T) {
	address := freeAddress(t)
	ready := make(chan error, 1)
	p := newProber(t, model.Probe{TCP: true}, address, nil)
	go func() { ready <- p.Await(t.Context()) }()
	eventually(t, "a probe has failed", func() bool { return p.LastError() != nil })
	select {
	case err := <-ready:
		t.Fatalf("ready before anybody listens: %v", err)
	default:
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := <-ready; err != nil {
		t.Error(err)
	}
}

// BenchmarkListeningIsNoticed has applications listen 5 to 300 ms after the probing began, and reports how much later
// that was known.
func BenchmarkListeningIsNoticed(b *testing.B) {
	for _, start := range []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
		b.Run(start.String(), func(b *testing.B) {
			var late []time.Duration
			for b.Loop() {
				address := freeAddress(b)
				ready := make(chan time.Time, 1)
				go func() {
					if err := newProber(b, model.Probe{TCP: true}, address, nil).Await(b.Context()); err != nil {
						b.Error(err)
					}
					ready <- time.Now()
				}()
				time.Sleep(start)
				listener, err := net.Listen("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				listening := time.Now()
				late = append(late, (<-ready).Sub(listening))
				listener.Close()
			}
			slices.Sort(late)
			b.ReportMetric(late[len(late)/2].Seconds()*1e3, "late-p50-ms")
			b.ReportMetric(late[len(late)*99/100].Seconds()*1e3, "late-p99-ms")
		})
	}
}

func TestAwaitSaysWhyItGaveUp(t *testing.T) {
	target := application(t, http.NotFoundHandler())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := newProber(t, model.Probe{HTTP: &model.HTTPProbe{Path: "/ready"}}, target, nil).Await(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() == context.DeadlineExceeded.Error() {
		t.Errorf("got %v", err)
	}
}

func TestThresholdsAreThoseOfKubernetes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outcomes := []bool{false, false, true, false, false, false, true, false, true, true, true}
		var seen []string
		probes := 0
		exec := func(context.Context, []string) error {
			defer func() { probes++ }()
			if probes >= len(outcomes) || outcomes[probes] {
				return nil
			}
			return errors.New("down")
		}
		probe := model.Probe{Exec: []string{"x"}, Period: time.Second, SuccessThreshold: 2, FailureThreshold: 3}
		p := newProber(t, probe, "127.0.0.1:1", exec)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		p.Watch(ctx, true, func(ok bool, _ error) {
			state := "not ready"
			if ok {
				state = "ready"
			}
			seen = append(seen, state+" after "+time.Since(start).String())
		})
		want := []string{"not ready after 6s", "ready after 10s"}
		if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
			t.Errorf("got %q, want %q", seen, want)
		}
	})
}

func TestProbesAtTheSameTimeShareOneExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var executions atomic.Int64
		p := newProber(t, model.Probe{Exec: []string{"x"}, Period: time.Second}, "127.0.0.1:1", func(context.Context, []string) error {
			executions.Add(1)
			time.Sleep(500 * time.Millisecond)
			return nil
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		results := make(chan error)
		go func() { results <- p.Ready(impatient) }()
		for range 5 {
			go func() { results <- p.Ready(t.Context()) }()
		}
		if err := <-results; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the impatient one got %v", err)
		}
		for range 5 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if executions.Load() != 1 {
			t.Errorf("%d executions", executions.Load())
		}
	})
}
