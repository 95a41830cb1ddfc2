package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/test/podprocess"
)

// outcomes count requests to gateways of which some are killed.
type outcomes struct {
	fresh, kept, refused, inside, wrong atomic.Int64
	killing                             atomic.Bool // an Envoy is being killed
	first                               atomic.Value
}

// ask sends a request and counts what becomes of it. Each fresh one has a connection of its own.
func (o *outcomes) ask(ctx context.Context, c *http.Client, host string, count *atomic.Int64) {
	before := o.killing.Load()
	a := ask(ctx, c, host, "/?sleep=5ms")
	if ctx.Err() != nil {
		return
	}
	count.Add(1)
	switch {
	case a.err == nil && a.status == http.StatusOK:
		return
	case errors.Is(a.err, syscall.ECONNREFUSED):
		o.refused.Add(1)
	case a.err != nil && (before || o.killing.Load()) && (errors.Is(a.err, io.EOF) || errors.Is(a.err, syscall.ECONNRESET) ||
		errors.Is(a.err, syscall.EPIPE) || errors.Is(a.err, io.ErrUnexpectedEOF)):
		o.inside.Add(1) // it had a connection, which ended without an answer
		return
	default:
		o.wrong.Add(1)
	}
	o.first.CompareAndSwap(nil, time.Now().Format("15:04:05.000 ")+a.String())
}

// TestKilledGatewayLosesOnlyWhatWasInside kills one Envoy of two, some times, while clients send requests on connections that they keep and on
// new ones, and then restarts both gateways. Nobody is refused, and nobody meets an Envoy without its routes, which would answer 404.
func TestKilledGatewayLosesOnlyWhatWasInside(t *testing.T) {
	s := makeSpace(t)
	var pods corev1.PodList
	err := cluster.List(t.Context(), &pods, client.InNamespace(system), client.MatchingLabels{"app.kubernetes.io/component": "gateway"})
	if err != nil || len(pods.Items) < 2 {
		t.Fatalf("%d gateways, %v", len(pods.Items), err)
	}
	envoy := func(i int) int { return podprocess.Find(string(pods.Items[i].UID), "envoy") }
	if envoy(0) == 0 {
		t.Skip("the Envoys are processes of another machine: this test kills them")
	}
	s.deploy(service{name: "hello", annotations: map[string]string{"autoscaling.knative.dev/min-scale": "1"}})
	s.awaitReady("hello")
	s.awaitAnswer(s.host("hello"), "World")
	var o outcomes
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c := &http.Client{Transport: transport(cluster.gateway), Timeout: patience}
			for ctx.Err() == nil {
				o.ask(ctx, c, s.host("hello"), &o.kept)
			}
		})
		all.Go(func() {
			for ctx.Err() == nil {
				c := &http.Client{Transport: transport(cluster.gateway), Timeout: patience}
				o.ask(ctx, c, s.host("hello"), &o.fresh)
				c.CloseIdleConnections()
			}
		})
	}
	more := func() {
		from := o.fresh.Load()
		s.await("more requests", func() (any, bool) { return o.fresh.Load(), o.fresh.Load() > from+300 })
	}
	more()
	const kills = 4
	for i := range kills {
		pid := envoy(i % 2)
		o.killing.Store(true)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.await("the next Envoy", func() (any, bool) { next := envoy(i % 2); return next, next != 0 && next != pid })
		o.killing.Store(false)
		more()
		if err := awaitRollout("gateway"); err != nil {
			t.Fatal(err)
		}
	}
	lost := o.inside.Load()
	if err := kubectl(nil, "-n", system, "rollout", "restart", "deployment/gateway"); err != nil {
		t.Fatal(err)
	}
	if err := awaitRollout("gateway"); err != nil {
		t.Fatal(err)
	}
	more()
	cancel()
	all.Wait()
	t.Logf("%d requests on new connections, %d on kept ones; %d were inside of %d Envoys that were killed, %d refused, %d others failed",
		o.fresh.Load(), o.kept.Load(), lost, kills, o.refused.Load(), o.wrong.Load())
	if o.refused.Load()+o.wrong.Load() > 0 || o.inside.Load() != lost {
		t.Errorf("requests failed that were not inside of a gateway that was killed; the first: %v", o.first.Load())
	}
}
