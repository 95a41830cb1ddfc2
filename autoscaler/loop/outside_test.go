package loop_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/model"
)

func proposal(signal string, replicas int) model.Proposal {
	return model.Proposal{Signal: signal, Replicas: replicas, Why: "a test says so"}
}

// asleep is a revision that has had no replicas for some time.
func asleep(uid string) model.Scaled {
	return model.Scaled{Revision: hello, UID: uid, Before: model.Before{Active: model.False, Initialized: true}}
}

func (p *plant) replicas() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Replicas
}

func TestAProposalWakesAtOnceAndItsEndLeadsToZero(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		p.Set(asleep("1"))
		p.Propose(hello, "1", proposal("scaler/queue", 0))
		p.mu.Lock()
		p.load = scrape.Result{Revision: hello, UID: "1", OK: true}
		p.mu.Unlock()
		time.Sleep(5 * time.Second)
		before := time.Now()
		p.Propose(hello, "1", proposal("scaler/queue", 3))
		synctest.Wait()
		if got := p.replicas(); got != 3 || time.Since(before) != 0 {
			t.Fatalf("%d replicas %v after three were asked for; want 3 at once", got, time.Since(before))
		}
		p.Propose(hello, "1", proposal("scaler/other", 5))
		time.Sleep(4 * time.Second)
		if got := p.replicas(); got != 5 {
			t.Errorf("%d replicas, want the largest count of the signals, 5", got)
		}
		p.Withdraw(hello, "1", "scaler/other")
		time.Sleep(4 * time.Second)
		if got := p.replicas(); got != 3 {
			t.Errorf("%d replicas after the larger signal was withdrawn, want 3", got)
		}
		p.Propose(hello, "1", proposal("scaler/queue", model.UnknownReplicas))
		time.Sleep(10 * time.Minute)
		if got := p.replicas(); got != 3 {
			t.Errorf("%d replicas while the signal has no data, want 3: missing data never scales down", got)
		}
		p.Propose(hello, "1", proposal("scaler/queue", 0))
		time.Sleep(5 * time.Minute)
		if got := p.replicas(); got != 0 {
			t.Errorf("%d replicas after the signal asks for none, want 0", got)
		}
	})
}

func TestProposalsAreThoseOfARevisionAndNotOfItsName(t *testing.T) {
	l := loop.New(loop.Options{})
	now := time.Unix(1e9, 0)
	l.Set(asleep("1"))
	l.Propose(hello, "1", proposal("scaler/b", 2))
	l.Propose(hello, "1", proposal("scaler/a", 1))
	l.Propose(hello, "3", proposal("scaler/c", 9)) // of one that never comes
	l.Propose(hello, "2", proposal("scaler/c", 1)) // of the next one, which is not here yet
	loop.Drain(l, now)
	loop.Ticker(l)(now)
	if got := loop.Last(l, hello).Replicas; got != 2 {
		t.Errorf("%d replicas, want 2", got)
	}
	l.Set(asleep("2"))
	loop.Drain(l, now)
	if got := loop.Last(l, hello); got.Replicas != 1 || got.Signal.Signal != "scaler/c" {
		t.Errorf("%d replicas, since %s; want the one that was proposed for the revision before it was here", got.Replicas, got.Why())
	}
	l.Withdraw(hello, "2", "scaler/c")
	l.Withdraw(hello, "3", "scaler/c")
	loop.Drain(l, now)
	if n := loop.Ahead(l); n != 0 {
		t.Errorf("the loop keeps proposals for %d revisions that are not here, want none", n)
	}
}

func TestASnapshotHasTheProposals(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		p.Set(asleep("1"))
		want := []model.Proposal{proposal("scaler/a", 1), proposal("scaler/b", model.UnknownReplicas)}
		p.Propose(hello, "1", want[1])
		p.Propose(hello, "1", want[0])
		rows := p.Snapshot(p.t.Context())
		if len(rows) != 1 || !slices.Equal(rows[0].Proposals, want) {
			t.Errorf("rows %+v, want proposals %+v", rows, want)
		}
	})
}

// BenchmarkSignals is a tick of revisions that three signals from outside concern, awake and asleep.
func BenchmarkSignals(b *testing.B) {
	for _, replicas := range []int{3, 0} {
		b.Run(fmt.Sprintf("revisions=10000/replicas=%d", replicas), func(b *testing.B) {
			l := loop.New(loop.Options{})
			now := time.Unix(1e9, 0)
			for i := range 10_000 {
				key := model.Key{Namespace: "default", Name: fmt.Sprint("r", i)}
				s := model.Scaled{Revision: key, UID: "1", Before: model.Before{Active: model.False, Initialized: true}}
				if replicas > 0 {
					s.Before = model.Before{Replicas: replicas, Active: model.True, Initialized: true}
				}
				l.Set(s)
				l.Running(model.WorkloadStatus{Revision: key, UID: "1", Ready: make([]model.Endpoint, replicas)})
				for _, signal := range []string{"scaler/queue", "schedule/day", "cpu"} {
					l.Propose(key, "1", proposal(signal, replicas))
				}
			}
			loop.Drain(l, now)
			tick := loop.Ticker(l)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Second)
				loop.Scraped(l, now)
				tick(now)
			}
		})
	}
}
