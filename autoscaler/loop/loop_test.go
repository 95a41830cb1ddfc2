package loop_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/model"
)

var hello = model.Key{Namespace: "default", Name: "hello-00001"}

// plant is a loop with a world around it that carries out its decisions: replicas become ready a moment after they are asked
// for, activators back a revision at once, and queue-proxies tell the load that the test says.
type plant struct {
	*loop.Loop
	t     *testing.T
	start time.Duration // of a replica

	mu       sync.Mutex
	at       []step // decisions, one after the other
	load     scrape.Result
	unserved error // why scrapes fail
	ready    int
	last     model.Decision
}

type step struct {
	after time.Duration
	model.Decision
}

// run makes a plant in a bubble of synthetic time, and ends it.
func run(t *testing.T, start time.Duration, test func(p *plant)) {
	t.Helper()
	runWith(t, start, loop.Options{}, test)
}

// runWith is run with options to which it adds what the plant has.
func runWith(t *testing.T, start time.Duration, o loop.Options, test func(p *plant)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &plant{t: t, start: start}
		began := time.Now()
		o.Decided = func(key model.Key, uid string, d model.Decision) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.at = append(p.at, step{time.Since(began), d})
			if d.Replicas != p.last.Replicas {
				time.AfterFunc(p.start, func() { p.becomeReady(key, uid, d.Replicas) })
			}
			p.Backed(key, d.Via == model.ViaActivator)
			p.last = d
		}
		o.Scrape = p.scrape
		p.Loop = loop.New(o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Run(ctx)
		}()
		test(p)
		cancel()
		<-done
	})
}

func (p *plant) becomeReady(key model.Key, uid string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.Replicas != n {
		return // another number is wanted by now
	}
	p.ready = n
	p.Running(model.WorkloadStatus{Revision: key, UID: uid, Ready: make([]model.Endpoint, n), Metrics: make([]model.Scrape, n)})
}

func (p *plant) scrape(_ context.Context, targets []scrape.Target, each func(scrape.Result)) {
	for _, target := range targets {
		p.mu.Lock()
		result := p.load
		result.Err = p.unserved
		p.mu.Unlock()
		result.Revision, result.UID, result.OK = target.Revision, target.UID, result.Err == nil
		each(result)
	}
}

func (p *plant) serve(concurrency float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load = scrape.Result{Concurrency: concurrency, Requests: concurrency * 10}
}

func (p *plant) refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unserved = err
}

// hold says that the activator has so many requests, of which so many wait.
func (p *plant) hold(concurrency, waiting float64) {
	p.Report(loop.Report{Reporter: "activator", Activator: true, Loads: []loop.Load{{
		Revision: hello, Concurrency: concurrency, Requests: concurrency, Waiting: waiting,
	}}})
}

// idle says that the activator has nothing.
func (p *plant) idle() { p.Report(loop.Report{Reporter: "activator", Activator: true}) }

func (p *plant) decision() model.Decision {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *plant) want(what string, replicas int) {
	p.t.Helper()
	if d := p.decision(); d.Replicas != replicas {
		p.t.Fatalf("%s: %d replicas (%s), want %d; decisions: %s", what, d.Replicas, d.Why(), replicas, p.history())
	}
}

func (p *plant) history() string {
	text := ""
	for _, s := range p.at {
		text += fmt.Sprintf("\n  %v: %d by %s, %s", s.after, s.Replicas, s.Via, s.Why())
	}
	return text
}

// sleeping is a revision that has run before and has no replicas now.
func sleeping(annotations map[string]string) model.Scaled {
	return model.Scaled{
		Revision: hello, UID: "1", Annotations: annotations,
		Before: model.Before{Active: model.False, Initialized: true},
	}
}

func quick() map[string]string {
	return map[string]string{"autoscaling.knative.dev/window": "6s", "autoscaling.knative.dev/target": "10"}
}

func TestNewRevisionStartsAndGoesToZeroWhenNobodyComes(t *testing.T) {
	run(t, 100*time.Millisecond, func(p *plant) {
		p.Set(model.Scaled{Revision: hello, UID: "1", Before: model.Before{Replicas: model.UnknownReplicas}})
		p.want("at once", 1)
		time.Sleep(59 * time.Second)
		p.want("within the stable window", 1)
		time.Sleep(40 * time.Second)
		p.want("after the window and the grace", 0)
		if via := p.decision().Via; via != model.ViaActivator {
			t.Errorf("requests of a revision without replicas go by %s", via)
		}
	})
}

func TestWaitingRequestWakesAtOnce(t *testing.T) {
	run(t, 20*time.Millisecond, func(p *plant) {
		p.Set(sleeping(nil))
		p.want("asleep", 0)
		time.Sleep(10*time.Minute + 300*time.Millisecond) // between two ticks
		began := time.Now()
		p.hold(0.001, 1)
		p.want("with a request waiting", 1)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the decision took %v; it must not wait for a tick", waited)
		}
	})
}

func TestStepOfRequestsIsServedBeforeTheNextTick(t *testing.T) {
	run(t, 20*time.Second, func(p *plant) {
		p.Set(sleeping(quick()))
		time.Sleep(100 * time.Millisecond)
		p.hold(1, 1)
		p.want("the first request", 1)
		time.Sleep(100 * time.Millisecond)
		p.hold(100, 99)
		p.want("a hundred that wait", 15) // 100 over 70 % of 10
	})
}

// The seconds before queue-proxies have reported anything are no gap in the window: nobody but the activator knows the replicas.
func TestLoadThatAllComesByActivatorsIsKnownAtOnce(t *testing.T) {
	run(t, 20*time.Millisecond, func(p *plant) {
		p.refuse(errors.New("no figures yet"))
		p.Set(sleeping(quick()))
		p.hold(1, 1)
		time.Sleep(200 * time.Millisecond)
		for i := range 60 {
			if i == 25 {
				p.refuse(nil)
			}
			p.hold(100, 50)
			time.Sleep(100 * time.Millisecond)
		}
		for _, s := range p.at {
			if s.after > time.Second && s.Replicas < 15 {
				t.Fatalf("%d replicas at %v while activators hold 100 all the time; decisions: %s", s.Replicas, s.after, p.history())
			}
		}
	})
}

func TestRequestsThatWaitEndNoReplica(t *testing.T) {
	run(t, 20*time.Millisecond, func(p *plant) {
		p.Set(sleeping(quick()))
		for range 10 {
			p.hold(70, 0)
			time.Sleep(time.Second)
		}
		p.want("70 in flight at 7 each", 10)
		for range 10 { // at a moment in which the average has fallen and no tick has come
			p.idle()
			time.Sleep(1500 * time.Millisecond)
			before := p.decision().Replicas
			p.hold(2, 2)
			if after := p.decision().Replicas; after < before {
				t.Fatalf("of %d replicas %d are left when requests begin to wait; decisions: %s", before, after, p.history())
			}
		}
	})
}

// Queue-proxies report the requests that an activator passes on, too.
func TestRequestsThatComeByActivatorsCountOnce(t *testing.T) {
	run(t, 20*time.Millisecond, func(p *plant) {
		p.Set(sleeping(quick()))
		for range 10 {
			p.hold(28, 0)
			p.mu.Lock()
			p.load = scrape.Result{Concurrency: 35, ProxiedConcurrency: 28}
			p.mu.Unlock()
			time.Sleep(time.Second)
		}
		p.want("28 by an activator and 7 directly, at 7 each", 5)
	})
}

func TestScalesUpAndDownWithTheLoadOfReplicas(t *testing.T) {
	run(t, 200*time.Millisecond, func(p *plant) {
		p.Set(sleeping(quick()))
		p.hold(1, 1)
		time.Sleep(time.Second)
		p.idle()
		p.serve(35)
		time.Sleep(20 * time.Second)
		p.want("35 in flight at 7 each", 5)
		p.serve(0)
		time.Sleep(60 * time.Second)
		p.want("idle", 0)
		for _, s := range p.at {
			if s.Replicas > 6 {
				t.Errorf("%d replicas at %v for 35 requests", s.Replicas, s.after)
			}
		}
	})
}

func TestMissingDataNeverScalesDown(t *testing.T) {
	run(t, 200*time.Millisecond, func(p *plant) {
		p.Set(sleeping(quick()))
		p.hold(1, 1)
		time.Sleep(time.Second)
		p.idle()
		p.serve(35)
		time.Sleep(20 * time.Second)
		p.want("known load", 5)
		p.refuse(errors.New("connection refused"))
		time.Sleep(10 * time.Minute)
		p.want("unknown load", 5)
		p.refuse(nil)
		p.serve(7)
		time.Sleep(60 * time.Second)
		p.want("known again", 1)
	})
}

func TestLoadThatWasNeverKnownNeitherHoldsUpNorScalesDown(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		p.refuse(errors.New("no answer"))
		p.Set(model.Scaled{
			Revision: hello, UID: "1", Annotations: quick(), Before: model.Before{Replicas: 3, Active: model.True, Initialized: true},
		})
		p.hold(1, 0)
		time.Sleep(5 * time.Minute)
		p.want("after a restart without data", 3)
		p.hold(70, 40)
		time.Sleep(2 * time.Second)
		p.want("when activators hold more than the replicas can take", 10)
	})
}

func TestRestartGoesOnFromWhatRan(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		p.Set(model.Scaled{
			Revision: hello, UID: "1", Annotations: quick(), Before: model.Before{Replicas: 4, Active: model.True, Initialized: true},
		})
		p.want("at once", 4)
		p.serve(7)
		time.Sleep(4 * time.Second)
		p.want("before a window of data", 4)
		time.Sleep(20 * time.Second)
		p.want("by its load", 1)
	})
}

func TestNoReplicaEndsBeforeEveryClientKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loop.New(loop.Options{
			Scrape: func(_ context.Context, targets []scrape.Target, each func(scrape.Result)) {
				for _, target := range targets {
					each(scrape.Result{Revision: target.Revision, UID: target.UID, OK: true})
				}
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go l.Run(ctx)
		l.Set(model.Scaled{Revision: hello, UID: "1", Before: model.Before{Replicas: model.UnknownReplicas}})
		l.Running(model.WorkloadStatus{Revision: hello, UID: "1", Ready: make([]model.Endpoint, 1), Metrics: make([]model.Scrape, 1)})
		time.Sleep(time.Hour)
		if d := l.Snapshot(ctx)[0].Decision; d.Replicas != 1 || d.Reason != model.ReasonNotBacked {
			t.Errorf("%d replicas because of %s, want 1 because nobody has acknowledged the activators", d.Replicas, d.Reason)
		}
		l.Backed(hello, true)
		time.Sleep(time.Minute)
		if d := l.Snapshot(ctx)[0].Decision; d.Replicas != 0 {
			t.Errorf("%d replicas when all clients go by activators: %s", d.Replicas, d.Why())
		}
		// It is deleted and made again, of which those who know how requests come need not hear.
		l.Set(model.Scaled{Revision: hello, UID: "2", Before: model.Before{Replicas: model.UnknownReplicas}})
		l.Running(model.WorkloadStatus{Revision: hello, UID: "2", Ready: make([]model.Endpoint, 1), Metrics: make([]model.Scrape, 1)})
		time.Sleep(time.Second)
		if d := l.Snapshot(ctx)[0].Decision; d.Replicas != 1 {
			t.Errorf("%d replicas of a new one: %s", d.Replicas, d.Why())
		}
		time.Sleep(time.Hour)
		if d := l.Snapshot(ctx)[0].Decision; d.Replicas != 0 {
			t.Errorf("%d replicas of its namesake: %s", d.Replicas, d.Why())
		}
	})
}

func TestStreamsOfAnUnroutedRevisionAreNoLoad(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		s := model.Scaled{
			Revision: hello, UID: "1", Annotations: quick(),
			Before: model.Before{Replicas: 1, Active: model.True, Initialized: true},
		}
		p.Set(s)
		p.mu.Lock()
		p.load = scrape.Result{Concurrency: 5, Streams: 5}
		p.mu.Unlock()
		time.Sleep(10 * time.Minute)
		p.want("routed", 1)
		s.Unreachable = true
		p.Set(s)
		time.Sleep(50 * time.Second)
		p.want("after the window and the grace", 0)
	})
}

func TestGatewaysReportWhereNoQueueProxyStands(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		s := sleeping(quick())
		s.Source = model.FromEnvoy
		s.Before = model.Before{Replicas: 1, Active: model.True, Initialized: true}
		p.Set(s)
		report := func(name string, concurrency float64) {
			r := loop.Report{Reporter: name}
			if concurrency > 0 {
				r.Loads = []loop.Load{{Revision: hello, Concurrency: concurrency}}
			}
			p.Report(r)
		}
		for range 20 {
			report("gateway-1", 14)
			report("gateway-2", 14)
			time.Sleep(time.Second)
		}
		p.want("two gateways with 14 requests each at 7 a replica", 4)
		time.Sleep(5 * time.Minute)
		p.want("gateways that say nothing", 4)
		for range 60 {
			report("gateway-1", 0)
			report("gateway-2", 0)
			time.Sleep(time.Second)
		}
		p.want("gateways that have nothing to say", 0)
	})
}

// fromEnvoy is a revision with a replica, whose load gateways tell.
func fromEnvoy(key model.Key) model.Scaled {
	return model.Scaled{
		Revision: key, UID: "1", Annotations: quick(), Source: model.FromEnvoy,
		Before: model.Before{Replicas: 1, Active: model.True, Initialized: true},
	}
}

// reports says for so many seconds that a gateway has so many requests for hello.
func (p *plant) reports(gateway string, concurrency float64, seconds int) {
	for range seconds {
		p.Report(loop.Report{Reporter: gateway, Loads: []loop.Load{{Revision: hello, Concurrency: concurrency}}})
		time.Sleep(time.Second)
	}
}

func TestASilentGatewayHoldsItsOwnLoadAlone(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		p.Set(fromEnvoy(hello))
		p.reports("silent", 7, 1)
		p.reports("gateway", 7, 20)
		p.want("14 requests at 7 a replica", 2)
		p.reports("gateway", 28, 20)
		p.want("35 requests, 28 of them reported now", 5)
		p.reports("gateway", 7, 100)
		p.want("14 again, 7 of them reported now", 2)
	})
}

// gRPC's C++ and Python clients report that they have nothing to do once, and then are silent until they have.
func TestAnIdleClientThatIsSilentMakesNothingUnknown(t *testing.T) {
	for name, last := range map[string]loop.Report{
		"had requests before": {Reporter: "client", Loads: []loop.Load{{Revision: hello}}},
		"never had a request": {Reporter: "client"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 10*time.Millisecond, func(p *plant) {
				p.Report(last)
				time.Sleep(10 * time.Second)
				p.Set(fromEnvoy(hello))
				p.reports("gateway", 28, 20)
				p.want("28 requests at 7 a replica", 4)
				p.reports("gateway", 0, 100)
				p.want("idle", 0)
			})
		})
	}
}

func TestFiguresOfWholeClustersDoNotCountActivatorsTwice(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		s := sleeping(quick())
		s.Source = model.FromEnvoy
		s.Before = model.Before{Replicas: 1, Active: model.True, Initialized: true}
		p.Set(s)
		for range 20 {
			p.hold(21, 0)
			p.Report(loop.Report{Reporter: "envoy", Whole: true, Loads: []loop.Load{{Revision: hello, Concurrency: 28}}})
			time.Sleep(time.Second)
		}
		p.want("28 requests, 21 of them by activators", 4)
	})
}

// An activator reports all revisions whenever a request begins to wait for any of them.
func TestShortReportsMakeNoPeakOfRequestsPerSecond(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		p.refuse(errors.New("no figures"))
		p.Set(sleeping(map[string]string{"autoscaling.knative.dev/metric": "rps", "autoscaling.knative.dev/target": "20",
			"autoscaling.knative.dev/window": "6s"}))
		say := func(over time.Duration, requests float64) {
			time.Sleep(over)
			r := loop.Report{Reporter: "activator", Activator: true, Over: over}
			if requests > 0 {
				r.Loads = []loop.Load{{Revision: hello, Concurrency: 0.1, Requests: requests / over.Seconds(), Over: over}}
			}
			p.Report(r)
		}
		time.Sleep(900 * time.Millisecond)
		for range 20 { // ten requests a second, the last of which a report of its own speaks of, the newest at each tick
			say(500*time.Millisecond, 5)
			say(499*time.Millisecond, 4)
			say(time.Millisecond, 1)
		}
		for _, s := range p.at {
			if s.Replicas > 1 {
				t.Fatalf("more than one replica for ten requests a second; decisions: %s", p.history())
			}
		}
		p.want("ten requests a second at 14 a replica", 1)
		for range 600 {
			say(100*time.Millisecond, 0)
		}
		p.want("after the last request", 0)
	})
}

func TestAnActivatorThatEndsTakesItsLoadWithIt(t *testing.T) {
	run(t, 10*time.Millisecond, func(p *plant) {
		p.Set(sleeping(quick()))
		p.hold(70, 70)
		time.Sleep(30 * time.Second)
		p.want("held", 10)
		p.Report(loop.Report{Reporter: "activator", Activator: true, Ended: true})
		time.Sleep(60 * time.Second)
		p.want("after the activator ended", 0)
	})
}

func TestOldNamesakeHasNoSay(t *testing.T) {
	run(t, time.Hour, func(p *plant) {
		p.Set(sleeping(nil))
		s := sleeping(nil)
		s.UID, s.Before = "2", model.Before{Replicas: model.UnknownReplicas}
		p.Set(s)
		p.Running(model.WorkloadStatus{Revision: hello, UID: "1", Ready: make([]model.Endpoint, 7)})
		synctest.Wait()
		rows := p.Snapshot(p.t.Context())
		if len(rows) != 1 || rows[0].Ready != 0 || rows[0].Decision.Replicas != 1 {
			t.Errorf("snapshot %+v", rows)
		}
		p.Remove(hello)
		if rows := p.Snapshot(p.t.Context()); len(rows) != 0 {
			t.Errorf("after its end: %+v", rows)
		}
	})
}

func TestFiguresOfOneSecondAreNotCountedTwice(t *testing.T) {
	run(t, time.Hour, func(p *plant) {
		p.Set(sleeping(quick()))
		for range 9 { // nine reports within a second, none of which adds to the others
			p.hold(14, 14)
			time.Sleep(101 * time.Millisecond)
		}
		p.want("14 requests at 7 a replica", 2)
	})
}

func TestSecondsThatNoTickFallsIntoAreNoGap(t *testing.T) {
	for name, late := range map[string]func(i int) time.Duration{
		"in time": func(int) time.Duration { return 0 },
		"around the turn of the second": func(i int) time.Duration {
			return time.Duration(1-i%2*2) * time.Millisecond
		},
		"two seconds late each other time": func(i int) time.Duration {
			return time.Duration(i/2*2) * time.Second
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := loop.New(loop.Options{})
			start := time.Unix(1e9, 0)
			l.Set(model.Scaled{
				Revision: hello, UID: "1", Annotations: quick(),
				Before: model.Before{Replicas: 1, Active: model.True, Initialized: true},
			})
			l.Running(model.WorkloadStatus{Revision: hello, UID: "1", Ready: make([]model.Endpoint, 1)})
			loop.Drain(l, start)
			for i := 3; i < 60; i++ {
				now := start.Add(time.Duration(i)*time.Second + late(i))
				loop.Scraped(l, now) // 20 requests
				loop.Ticker(l)(now)
			}
			if stable := loop.Last(l, hello).Stable; stable != 20 {
				t.Errorf("of 20 requests all the time the window makes %v", stable)
			}
		})
	}
}

func TestStartThatFailsEndsWhenNobodyWaitsAnyMore(t *testing.T) {
	for _, waits := range []time.Duration{10 * time.Second, 11 * time.Second} {
		run(t, 24*time.Hour, func(p *plant) { // no replica becomes ready
			p.Set(sleeping(nil))
			for range waits / time.Second {
				p.hold(1, 1)
				time.Sleep(time.Second)
			}
			p.idle()
			time.Sleep(10 * time.Minute)
			p.want("before the deadline and what is added to it", 1)
			time.Sleep(time.Minute)
			p.want("after the deadline", 0)
			if c := p.decision().Active; c.Reason != "TimedOut" {
				t.Errorf("it is inactive because of %s, want TimedOut", c.Reason)
			}
			p.Set(sleeping(map[string]string{"autoscaling.knative.dev/max-scale": "9"}))
			p.want("when something else of it changes", 0)
			p.hold(1, 1)
			p.want("when somebody waits again", 1)
		})
	}
}

// One that was stopped while its first replica started, and comes back the next day.
func TestRestartHasAStartBeginAnew(t *testing.T) {
	run(t, 5*time.Minute, func(p *plant) {
		p.Set(model.Scaled{Revision: hello, UID: "1", Before: model.Before{
			Replicas: 1, Active: model.Unknown, Since: time.Now().Add(-24 * time.Hour),
		}})
		p.want("at once", 1)
		time.Sleep(6 * time.Minute)
		p.want("ready within the deadline", 1)
		if !p.decision().Initialized {
			t.Error("it has a ready replica and is not initialized")
		}
	})
	run(t, 24*time.Hour, func(p *plant) {
		p.Set(model.Scaled{Revision: hello, UID: "1", Before: model.Before{Replicas: 1, Active: model.Unknown, Since: time.Now()}})
		time.Sleep(11 * time.Minute)
		p.want("after the deadline", 0)
	})
}

// BenchmarkTick is a tick of 10,000 revisions that are awake, half of which decide.
func BenchmarkTick(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		for _, awake := range []bool{true, false} {
			b.Run(fmt.Sprintf("revisions=%d/awake=%t", n, awake), func(b *testing.B) {
				l := loop.New(loop.Options{})
				tick := loop.Ticker(l)
				reports := loop.Report{Reporter: "activator", Activator: true}
				now := time.Unix(1e9, 0)
				for i := range n {
					key := model.Key{Namespace: "default", Name: fmt.Sprint("r", i)}
					s := model.Scaled{Revision: key, UID: "1", Before: model.Before{Active: model.False, Initialized: true}}
					if awake {
						s.Before = model.Before{Replicas: 1, Active: model.True, Initialized: true}
						reports.Loads = append(reports.Loads, loop.Load{Revision: key, Concurrency: math.Mod(float64(i), 50), Requests: 10})
					}
					l.Set(s)
					if awake {
						l.Running(model.WorkloadStatus{Revision: key, UID: "1", Ready: make([]model.Endpoint, 1)})
					}
				}
				l.Report(reports)
				loop.Drain(l, now)
				b.ReportAllocs()
				for b.Loop() {
					now = now.Add(time.Second)
					loop.Scraped(l, now) // part of what a second costs
					tick(now)
				}
			})
		}
	}
}

func TestSnapshotEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rows := loop.New(loop.Options{}).Snapshot(ctx); rows != nil {
		t.Errorf("a loop that does not run answered %v", rows)
	}
}
