package e2e

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// h2c is the port of a container that speaks HTTP/2, as gRPC does.
var h2c = []servingv1.ContainerPort{{Name: "h2c", ContainerPort: 8080}}

// window makes a revision scale down soon after its load ends.
var window = map[string]string{"autoscaling.knative.dev/window": "6s"}

// localGateway returns a client of the gateway for cluster-local hosts. It skips the test where the cluster's network is not reachable.
func localGateway(t *testing.T) *http.Client {
	t.Helper()
	var service corev1.Service
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "gateway-local"}, &service); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(service.Spec.ClusterIP, "80")
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Skipf("the addresses of the cluster's Services are not reachable from here: %v", err)
	}
	conn.Close()
	return &http.Client{Transport: transport(address), Timeout: patience}
}

func TestRevisionScalesFromZeroAndBack(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "hello", annotations: window, concurrency: 1})
	s.awaitReady("hello")
	s.await("no replica", func() (any, bool) { n := s.replicas("hello"); return n, n == 0 })
	s.awaitAnswer(s.host("hello"), "World")

	const clients = 3
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				if a := ask(ctx, cluster.http, s.host("hello"), "/?sleep=200ms"); a.status != http.StatusOK && ctx.Err() == nil {
					t.Errorf("got %v", a)
				}
			}
		})
	}
	s.await("a replica for each client", func() (any, bool) { n := s.replicas("hello"); return n, n >= clients })
	cancel()
	all.Wait()
	s.await("no replica", func() (any, bool) { n := s.replicas("hello"); return n, n == 0 })
}

func TestRequestWakesARevisionOfACluster(t *testing.T) {
	s := newSpace(t)
	zero := map[string]string{"autoscaling.knative.dev/initial-scale": "0"}
	s.deploy(service{name: "sleeper", annotations: window})
	s.awaitReady("sleeper")
	s.await("no replica", func() (any, bool) { n := s.replicas("sleeper"); return n, n == 0 })
	if a := s.ask(s.host("sleeper"), "/"); a.status != http.StatusOK {
		t.Errorf("the first request got %v, want 200", a)
	}
	// The default of allow-zero-initial-scale forbids it, and says so.
	s.deploy(service{name: "zero", annotations: zero})
	s.await("a condition that names the annotation", func() (any, bool) {
		c := conditionOf(s.get("zero"), "Ready")
		return c, c.Status == "False"
	})
}
