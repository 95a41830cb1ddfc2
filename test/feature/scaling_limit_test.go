package feature

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// visit is one request with the times of its client and of its replica. Both use this machine's clock.
type visit struct {
	sent, began, ended, answered time.Time
	replica                      string // its process
}

// visits are answered requests and failures.
type visits struct {
	mu     sync.Mutex
	all    []visit
	failed []string
}

// visits sends requests from so many clients, each one after the other. The replica works so many milliseconds on each request.
func (s *instance) visits(host string, clients int, milliseconds []int) *visits {
	out := &visits{}
	var group sync.WaitGroup
	next := make(chan int, len(milliseconds))
	for _, ms := range milliseconds {
		next <- ms
	}
	close(next)
	for range clients {
		transport := &http.Transport{MaxIdleConnsPerHost: 1}
		group.Go(func() {
			defer transport.CloseIdleConnections()
			for ms := range next {
				one, err := s.visit(&http.Client{Transport: transport, Timeout: patience}, host, ms)
				out.mu.Lock()
				if err != nil {
					out.failed = append(out.failed, err.Error())
				} else {
					out.all = append(out.all, one)
				}
				out.mu.Unlock()
			}
		})
	}
	group.Wait()
	return out
}

func (s *instance) visit(client *http.Client, host string, ms int) (visit, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://%s/?ms=%d", s.gateway, ms), nil)
	if err != nil {
		return visit{}, err
	}
	request.Host = host
	one := visit{sent: time.Now()}
	response, err := client.Do(request)
	if err != nil {
		return visit{}, err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	one.answered = time.Now()
	if err != nil || response.StatusCode != http.StatusOK {
		return visit{}, fmt.Errorf("status %d, %w: %s", response.StatusCode, err, body)
	}
	began, err1 := strconv.ParseInt(response.Header.Get("App-Began"), 10, 64)
	ended, err2 := strconv.ParseInt(response.Header.Get("App-Ended"), 10, 64)
	if err := cmp.Or(err1, err2); err != nil {
		return visit{}, err
	}
	one.began, one.ended, one.replica = time.Unix(0, began), time.Unix(0, ended), response.Header.Get("App-Process")
	return one, nil
}

// byReplica returns the requests of each replica, in the order in which it began them.
func byReplica(all []visit) map[string][]visit {
	out := map[string][]visit{}
	for _, one := range all {
		out[one.replica] = append(out[one.replica], one)
	}
	for _, served := range out {
		slices.SortFunc(served, func(a, b visit) int { return a.began.Compare(b.began) })
	}
	return out
}

// idleFor returns for how long, between two moments, at least one of the replicas had no request.
func idleFor(replicas map[string][]visit, from, to time.Time) time.Duration {
	var idle [][2]time.Time
	for _, served := range replicas {
		at := from
		for _, one := range served {
			if !one.ended.After(at) || !one.began.Before(to) {
				continue
			}
			if one.began.After(at) {
				idle = append(idle, [2]time.Time{at, one.began})
			}
			at = one.ended
		}
		if at.Before(to) {
			idle = append(idle, [2]time.Time{at, to})
		}
	}
	slices.SortFunc(idle, func(a, b [2]time.Time) int { return a[0].Compare(b[0]) })
	total, at := time.Duration(0), from
	for _, gap := range idle {
		if gap[0].Before(at) {
			gap[0] = at
		}
		if gap[1].After(gap[0]) {
			total += gap[1].Sub(gap[0])
			at = gap[1]
		}
	}
	return total
}

// singles makes a Service of so many replicas that work on one request at a time.
func singles(t testing.TB, name, burst string, replicas int) *servingv1.Service {
	o := newApp(t, name, map[string]string{
		"autoscaling.knative.dev/min-scale": fmt.Sprint(replicas), "autoscaling.knative.dev/max-scale": fmt.Sprint(replicas),
		"autoscaling.knative.dev/target-burst-capacity": burst,
	}, "LIMIT", "1")
	o.Spec.Template.Spec.ContainerConcurrency = new(int64(1))
	return o
}

func TestOneRequestAtATime(t *testing.T) { onEachGateway(t, oneRequestAtATime) }

func oneRequestAtATime(t *testing.T, g gateway) {
	const replicas = 4
	uneven := make([]int, 60) // with equal durations any load balancing would look good
	for i := range uneven {
		uneven[i] = 50 + i*137%250
	}
	s := g.up(t)
	s.create(singles(t, "single", "-1", replicas))
	s.scaledTo("single-00001", replicas)
	s.ask("single.default.localhost") // after that the activator has the replicas
	for _, clients := range []int{replicas - 1, replicas, 3 * replicas} {
		looks := s.look("single-00001")
		got := s.visits("single.default.localhost", clients, uneven)
		waited := looks.end(t, replicas)
		if len(got.failed) > 0 {
			t.Errorf("%d clients: %d requests failed, the first: %s", clients, len(got.failed), got.failed[0])
		}
		served := byReplica(got.all)
		for replica, all := range served {
			for i := 1; i < len(all); i++ {
				if all[i].began.Before(all[i-1].ended) {
					t.Errorf("replica %s had two requests at a time, from %v", replica, all[i].began)
				}
			}
		}
		if len(served) < min(clients, replicas) {
			t.Errorf("%d clients: %d of %d replicas were used", clients, len(served), replicas)
		}
		t.Logf("%d clients: requests waited in %d of %d looks at the activator", clients, waited, len(looks.seen))
	}
}

// looks are repeated readings of the activator's metrics of a revision.
type looks struct {
	stop func()
	seen []depth
}

// depth is how many requests the activator had at a moment, and how many of them waited for a slot.
type depth struct{ inFlight, waiting float64 }

// look reads the activator's metrics of a revision until end is called.
func (s *instance) look(revision string) *looks {
	l := &looks{}
	over, done := make(chan struct{}), make(chan struct{})
	l.stop = sync.OnceFunc(func() { close(over); <-done })
	s.t.Cleanup(l.stop)
	go func() {
		defer close(done)
		for {
			_, text, err := s.admined("/metrics")
			if all, parsed := figuresOf(text, "sluice_activator_"); err == nil && parsed == nil {
				inFlight, _ := ofRevision(all, "sluice_activator_requests_in_flight", revision)
				waiting, _ := ofRevision(all, "sluice_activator_queue_depth", revision)
				l.seen = append(l.seen, depth{inFlight, waiting})
			}
			select {
			case <-over:
				return
			case <-time.After(5 * time.Millisecond): // between two readings
			}
		}
	}()
	return l
}

// end returns in how many readings requests waited. No request may wait while a slot is free: it would wait for a busy replica while
// another has none.
func (l *looks) end(t *testing.T, slots float64) (waited int) {
	t.Helper()
	l.stop()
	for _, d := range l.seen {
		if d.waiting == 0 {
			continue
		}
		waited++
		if taken := d.inFlight - d.waiting; taken != slots {
			t.Errorf("%v requests wait though %v of %v slots are taken", d.waiting, taken, slots)
		}
	}
	return waited
}

// A revision whose replicas work on one request at a time scales from zero, and no replica ever gets two.
func TestOneRequestAtATimeFromZero(t *testing.T) { onEachGateway(t, oneRequestAtATimeFromZero) }

func oneRequestAtATimeFromZero(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	var services []*servingv1.Service
	for _, burst := range []string{"-1", "0"} { // always through the activator, and only at zero
		o := newApp(t, "single"+burst[len(burst)-1:], asleep("autoscaling.knative.dev/target-burst-capacity", burst,
			"autoscaling.knative.dev/max-scale", "8"), "LIMIT", "1")
		o.Spec.Template.Spec.ContainerConcurrency = new(int64(1))
		services = append(services, o)
	}
	s.create(services...)
	for _, o := range services {
		got := s.visits(o.Name+".default.localhost", 10, slices.Repeat([]int{50}, 200))
		if len(got.failed) > 0 {
			t.Errorf("%s: %d requests failed, the first: %s", o.Name, len(got.failed), got.failed[0])
		}
		if n := len(byReplica(got.all)); n < 2 {
			t.Errorf("%s: %d replicas served ten clients", o.Name, n)
		}
	}
}

// BenchmarkOneRequestAtATime measures how long requests wait for replicas that work on one at a time for 20 ms, with as many clients
// as replicas, or twice as many. It reports the time beyond those 20 ms, and how much of it a replica was idle.
func BenchmarkOneRequestAtATime(b *testing.B) {
	const replicas = 4
	for _, clients := range []int{replicas, 2 * replicas} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := up(b, "--log-level", "warn")
			s.create(singles(b, "single", "-1", replicas))
			s.scaledTo("single-00001", replicas)
			for b.Loop() {
				reportVisits(b, s.visits("single.default.localhost", clients, slices.Repeat([]int{20}, 2000)), clients <= replicas)
			}
		})
	}
}

func reportVisits(b *testing.B, got *visits, roomy bool) {
	b.Helper()
	if len(got.failed) > 0 {
		b.Errorf("%d requests failed, the first: %s", len(got.failed), got.failed[0])
	}
	served := byReplica(got.all)
	var excess, idle []time.Duration
	over := 0
	for _, one := range got.all {
		excess = append(excess, one.answered.Sub(one.sent)-one.ended.Sub(one.began))
		free := idleFor(served, one.sent, one.began)
		idle = append(idle, free)
		if free > 5*time.Millisecond {
			over++
		}
	}
	if roomy {
		percentiles(b, "excess", excess)
	}
	percentiles(b, "idle-wait", idle)
	b.ReportMetric(float64(over), "idle-wait-over-5ms")
	b.ReportMetric(float64(slices.Max(idle).Microseconds())/1000, "idle-wait-max-ms")
}
