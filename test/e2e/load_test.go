package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// load sends requests until it is stopped.
type load struct {
	stop     context.CancelFunc
	all      sync.WaitGroup
	requests atomic.Int64

	mu       sync.Mutex
	failures []string
}

// startLoad sends requests to hosts, each from some clients with connections of their own. A client pauses between two requests.
func startLoad(t testing.TB, clients int, hosts ...string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel}
	for _, host := range hosts {
		for range clients {
			c := &http.Client{Transport: transport(cluster.gateway), Timeout: patience}
			l.all.Go(func() {
				defer c.CloseIdleConnections()
				for ctx.Err() == nil {
					a := ask(ctx, c, host, "/")
					if ctx.Err() != nil {
						return
					}
					l.requests.Add(1)
					if a.status != http.StatusOK {
						l.fail(fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), host, a))
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	t.Cleanup(func() { l.end(t) })
	return l
}

func (l *load) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, what)
}

// end stops the load. No request may have failed.
func (l *load) end(t testing.TB) {
	l.stop()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d requests, %d failed", l.requests.Load(), len(l.failures))
	if n := len(l.failures); n > 0 {
		t.Errorf("%d of %d requests failed:\n%s", n, l.requests.Load(), strings.Join(l.failures[:min(n, 20)], "\n"))
	}
}

// awaitMore waits until the load has sent some more requests.
func (l *load) awaitMore(s *space, n int64) {
	s.Helper()
	from := l.requests.Load()
	s.await("more requests", func() (any, bool) { now := l.requests.Load(); return now, now >= from+n })
}

// loaded deploys two Services under load: one whose requests go straight to its replicas, and one whose requests go through activators.
func loaded(s *space) *load {
	s.Helper()
	s.deploy(service{name: "direct", annotations: map[string]string{
		"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/target-burst-capacity": "0",
	}})
	s.deploy(service{name: "through", annotations: map[string]string{
		"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/target-burst-capacity": "-1",
	}})
	s.awaitReady("direct")
	s.awaitReady("through")
	s.awaitAnswer(s.host("direct"), "World")
	s.awaitAnswer(s.host("through"), "World")
	return startLoad(s.TB, 4, s.host("direct"), s.host("through"))
}

func TestNoRequestIsLostWhileRevisionsChange(t *testing.T) {
	s := newSpace(t)
	l := loaded(s)
	for i := range 3 {
		s.deploy(service{name: "direct", target: fmt.Sprint("World ", i), annotations: map[string]string{
			"autoscaling.knative.dev/min-scale": "1", "autoscaling.knative.dev/target-burst-capacity": "0",
		}})
		s.awaitReady("direct")
		s.awaitAnswer(s.host("direct"), fmt.Sprint("World ", i))
		l.awaitMore(s, 200)
	}
	l.end(t)
}

// restarts end parts of Sluice. They run one after the other, and not beside tests that would wait for what they end.
func TestNoRequestIsLostWhilePartsOfSluiceRestart(t *testing.T) {
	s := &space{t, "e2e-restarts"}
	if err := kubectl(nil, "create", "namespace", s.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kubectl(nil, "delete", "namespace", s.name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	l := loaded(s)
	for _, part := range []string{"controller", "activator", "gateway"} {
		if err := kubectl(nil, "-n", system, "rollout", "restart", "deployment/"+part); err != nil {
			t.Fatal(err)
		}
		if err := awaitRollout(part); err != nil {
			t.Fatal(err)
		}
		l.awaitMore(s, 200)
	}
	t.Log("the leader is killed")
	if err := kubectl(nil, "-n", system, "delete", "pod", leader(t), "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	l.awaitMore(s, 200)
	// The next leader serves: what changes now reaches the gateway.
	s.deploy(service{name: "later"})
	s.awaitReady("later")
	s.awaitAnswer(s.host("later"), "World")

	t.Log("Sluice is installed again with other flags, as an upgrade does")
	if err := install("--routes", "inline"); err != nil {
		t.Fatal(err)
	}
	if err := awaitRollout("controller", "activator", "gateway"); err != nil {
		t.Fatal(err)
	}
	l.awaitMore(s, 200)
	if err := install(); err != nil {
		t.Fatal(err)
	}
	if err := awaitRollout("controller", "activator", "gateway"); err != nil {
		t.Fatal(err)
	}
	l.awaitMore(s, 200)
	l.end(t)
}

// away is for how long the API server does not answer.
const away = time.Minute

func TestServingGoesOnWhileTheAPIServerIsAway(t *testing.T) {
	pid, err := strconv.Atoi(os.Getenv("SLUICE_APISERVER_PID"))
	if err != nil {
		t.Skip("SLUICE_APISERVER_PID is not set: this test stops the process of the API server for a while")
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	s := makeSpace(t)
	l := loaded(s)
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	defer resume()
	before := l.requests.Load()
	time.Sleep(away)
	if n := l.requests.Load() - before; n < 100 {
		t.Errorf("only %d requests were answered while the API server was away", n)
	}
	resume()
	s.await("a service that is made afterwards", func() (any, bool) {
		err := cluster.Create(t.Context(), service{name: "later"}.object(s.name))
		return err, err == nil || apierrors.IsAlreadyExists(err)
	})
	s.awaitAnswer(s.host("later"), "World")
	l.end(t)
	s.awaitNodes()
}

// settled is for how long nodes must stay ready: longer than the time between two reports of a kubelet.
const settled = 20 * time.Second

// awaitNodes waits until the cluster takes its nodes for ready again. After an outage of the API server Kubernetes takes them for lost for a
// moment, and lets nobody reach their pods.
func (s *space) awaitNodes() {
	s.Helper()
	since := time.Now()
	s.await("all nodes and gateways to be ready for a while", func() (any, bool) {
		var gateways appsv1.Deployment
		err := cluster.Get(s.Context(), client.ObjectKey{Namespace: system, Name: "gateway"}, &gateways)
		if err != nil || gateways.Status.ReadyReplicas != *gateways.Spec.Replicas {
			since = time.Now()
		}
		return gateways.Status, time.Since(since) > settled
	})
}

// leader returns the name of the pod that leads.
func leader(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("kubectl", "-n", system, "get", "lease", "sluice-controller", "-o", "jsonpath={.spec.holderIdentity}").Output()
	if err != nil {
		t.Fatal(err)
	}
	pod, _, _ := strings.Cut(string(out), "_")
	return pod
}
