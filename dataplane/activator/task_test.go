package activator

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
)

// busyApp is an application that knows whether it ever had two requests at a time. With a header Hold it waits for release.
type busyApp struct {
	release     chan struct{}
	running     atomic.Int64
	ran, double atomic.Int64
}

func (a *busyApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.running.Add(1) > 1 {
		a.double.Add(1)
	}
	defer a.running.Add(-1)
	if r.Header.Get("Hold") != "" {
		<-a.release
	}
	a.ran.Add(1)
	says("done with "+r.Header.Get("Sluice-Priority"))(w, r)
}

// owned has the control planes of both activators say that one of them is the owner of the revision.
func owned(both []*bench, owner *bench, replicas ...string) {
	var activators []any
	for _, b := range both {
		activators = append(activators, b.activator.Address())
	}
	for _, b := range both {
		b.set(cluster, facts{
			"concurrency": 1.0, "timeout": 300.0, "activators": activators, "tasks": true, "owner": owner.activator.Address(),
		}, replicas...)
	}
}

func TestTasksAreHandedOverToTheOwner(t *testing.T) {
	app := &busyApp{release: make(chan struct{})}
	replica := replicaOf(t, queueproxy.Options{Concurrency: 1}, app.ServeHTTP)
	owner, other := start(t, Options{}), start(t, Options{})
	owned([]*bench{owner, other}, owner, replica)
	for _, c := range clients(t) {
		do(c, other.request(http.MethodPost, "/", strings.NewReader("a body"), "Sluice-Priority", "high")).want(t, 200, "done with high")
	}
	if n := count(other.activator.metrics.handed); n == 0 || count(other.activator.metrics.dispatched) != 0 {
		t.Errorf("%d tasks were handed over, and %d sent to the replica", n, count(other.activator.metrics.dispatched))
	}
	other.get(contract.SlotHeader, contract.SlotHanded).want(t, 503, "does not own")
}

// The new owner does not know that the task of the one before still runs. The queue-proxy does.
func TestNewOwnerNeverDoublesATask(t *testing.T) {
	app := &busyApp{release: make(chan struct{})}
	replica := replicaOf(t, queueproxy.Options{Concurrency: 1}, app.ServeHTTP)
	before, after := start(t, Options{}), start(t, Options{})
	both := []*bench{before, after}
	owned(both, before, replica)
	running := before.later(before.request(http.MethodGet, "/", nil, "Hold", "yes"))
	eventually(t, "the task runs", func() bool { return app.running.Load() == 1 })
	waits := before.later(before.request(http.MethodGet, "/", nil))
	before.waiting(1)
	owned(both, after, replica)
	before.waiting(0) // it was handed over
	eventually(t, "the replica has refused it", func() bool { return count(after.activator.metrics.retried) > 0 })
	if app.ran.Load() != 0 {
		t.Error("a task has ended before it was released")
	}
	close(app.release)
	await(t, running).want(t, 200, "done")
	await(t, waits).want(t, 200, "done")
	if app.double.Load() != 0 || app.ran.Load() != 2 {
		t.Errorf("%d tasks ran, %d of them at once with another one", app.ran.Load(), app.double.Load())
	}
}

func TestWrongTermsAreRefusedOfTasksAlone(t *testing.T) {
	replica := addressOf(plain(t, says("hello")))
	for _, tasks := range []bool{true, false} {
		b := start(t, Options{})
		b.set(cluster, facts{"concurrency": 1.0, "tasks": tasks}, replica)
		for _, header := range [][]string{
			{"Sluice-Deadline", "soon"}, {"Sluice-Deadline", time.Now().Add(-time.Hour).Format(time.RFC3339)}, {"Sluice-Priority", "now"},
			{"Sluice-Deadline", "2999-01-31T12:00:00Z", "Sluice-Deadline", "2999-01-31T12:00:00Z"},
		} {
			status, body := 200, "hello"
			if tasks {
				status, body = 400, header[0]
			}
			b.get(header...).want(t, status, body)
			b.get(header...).want(t, status, body) // the first one came before it was known that it is a task
		}
	}
}

func TestDeadlineCancelsARunningTask(t *testing.T) {
	gone := make(chan struct{})
	replica := replicaOf(t, queueproxy.Options{Concurrency: 1}, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	})
	b := start(t, Options{})
	b.set(cluster, facts{"concurrency": 1.0, "tasks": true}, replica)
	b.get("Sluice-Deadline", time.Now().Add(500*time.Millisecond).Format(time.RFC3339Nano)).want(t, 504, "deadline of the task")
	<-gone
}
