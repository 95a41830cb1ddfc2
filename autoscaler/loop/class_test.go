package loop_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/model"
)

// hpaClass are the annotations of a revision of the class HPA, and some more.
func hpaClass(more ...string) map[string]string {
	a := map[string]string{"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}
	for i := 0; i < len(more); i += 2 {
		a["autoscaling.knative.dev/"+more[i]] = more[i+1]
	}
	return a
}

// asks has the platform's autoscaler ask for a count, with some ready replicas.
func (p *plant) asks(n, ready int) {
	p.Running(model.WorkloadStatus{
		Revision: hello, UID: "1", Ready: make([]model.Endpoint, ready),
		Asked: model.Proposal{Signal: "the HorizontalPodAutoscaler", Replicas: n, Why: "cpu is at 95% of the request"},
	})
	synctest.Wait()
}

func TestThePlatformScalesTheClassHPA(t *testing.T) {
	runWith(t, time.Second, loop.Options{Platform: true}, func(p *plant) {
		p.Set(model.Scaled{Revision: hello, UID: "1", Annotations: hpaClass("min-scale", "2", "max-scale", "9", "target", "70"),
			Before: model.Before{Replicas: model.UnknownReplicas}})
		d := p.decision()
		if d.Replicas != 2 || d.Via != model.ViaActivator || d.HPA == nil ||
			*d.HPA != (model.HPA{Min: 2, Max: 9, Metric: model.CPU, Target: 70}) {
			t.Fatalf("at first %d replicas, %v, %+v", d.Replicas, d.Via, d.HPA)
		}
		time.Sleep(2 * time.Second)
		if d = p.decision(); d.Via != model.ViaReplicas || d.Active.Status != model.True || !d.Initialized {
			t.Errorf("with ready replicas: %v, %+v", d.Via, d.Active)
		}
		p.asks(6, 2)
		if d = p.decision(); d.Replicas != 6 || !strings.Contains(d.Why(), "the HorizontalPodAutoscaler asks for 6: cpu is at 95%") {
			t.Errorf("%d replicas: %s", d.Replicas, d.Why())
		}
		p.serve(0)
		time.Sleep(10 * time.Minute)
		if d = p.decision(); d.Replicas != 6 || d.Via != model.ViaReplicas {
			t.Errorf("without load: %d replicas, %v: only the HPA may scale it down", d.Replicas, d.Via)
		}
		p.asks(0, 6) // no HPA says so
		p.asks(2, 6)
		if d = p.decision(); d.Replicas != 2 {
			t.Errorf("%d replicas, want 2 at once: %s", d.Replicas, d.Why())
		}
	})
}

func TestAnHPAWithoutDataKeepsTheReplicas(t *testing.T) {
	runWith(t, time.Second, loop.Options{Platform: true}, func(p *plant) {
		p.Set(model.Scaled{Revision: hello, UID: "1", Annotations: hpaClass(),
			Before: model.Before{Replicas: 4, Active: model.True, Initialized: true}})
		p.Running(model.WorkloadStatus{Revision: hello, UID: "1", Ready: make([]model.Endpoint, 4)})
		time.Sleep(10 * time.Minute)
		if d := p.decision(); d.Replicas != 4 {
			t.Errorf("%d replicas, want 4: %s", d.Replicas, d.Why())
		}
	})
}

func TestMinScaleOfAnHPAIsForRevisionsWithARoute(t *testing.T) {
	runWith(t, time.Second, loop.Options{Platform: true}, func(p *plant) {
		s := model.Scaled{Revision: hello, UID: "1", Annotations: hpaClass("min-scale", "5"),
			Before: model.Before{Replicas: model.UnknownReplicas}}
		p.Set(s)
		if d := p.decision(); d.HPA.Min != 5 || d.Replicas != 5 {
			t.Fatalf("%d replicas, %+v", d.Replicas, d.HPA)
		}
		time.Sleep(2 * time.Second)
		s.Unreachable = true
		p.Set(s)
		p.asks(1, 5)
		if d := p.decision(); d.HPA.Min != 1 || d.Replicas != 1 {
			t.Errorf("without a Route: %d replicas, %+v", d.Replicas, d.HPA)
		}
	})
}

func TestAnotherClassTakesOver(t *testing.T) {
	runWith(t, time.Second, loop.Options{Platform: true}, func(p *plant) {
		s := model.Scaled{Revision: hello, UID: "1", Annotations: hpaClass(), Before: model.Before{Replicas: model.UnknownReplicas}}
		p.Set(s)
		time.Sleep(2 * time.Second)
		p.asks(7, 7)
		s.Annotations = nil
		p.Set(s)
		if d := p.decision(); d.HPA != nil {
			t.Errorf("the HPA stays: %+v", d.HPA)
		}
		time.Sleep(10 * time.Minute)
		if d := p.decision(); d.Replicas != 0 {
			t.Errorf("%d replicas, want 0 without load: %s", d.Replicas, d.Why())
		}
	})
}

// uses is a machine whose replicas have been ready for long, and use so much CPU together (thousandths of a core).
type uses struct {
	plant *plant
	cpu   int64
	lost  bool
}

func (u *uses) measure(_ context.Context, revisions []model.Key, each func(model.Usage)) {
	u.plant.mu.Lock()
	n, lost := u.plant.ready, u.lost
	u.plant.mu.Unlock()
	for _, revision := range revisions {
		all := make([]model.ReplicaUsage, n)
		for i := range all {
			all[i] = model.ReplicaUsage{
				Name: strconv.Itoa(i), Started: time.Now().Add(-time.Hour), Turned: time.Now().Add(-time.Hour), Ready: true, Request: 1000,
				Measured: true, CPU: u.cpu / int64(n), At: time.Now(), Window: 15 * time.Second,
			}
		}
		if !lost {
			each(model.Usage{Revision: revision, UID: "1", Replicas: all})
		}
	}
}

func (u *uses) set(cpu int64, lost bool) {
	u.plant.mu.Lock()
	defer u.plant.mu.Unlock()
	u.cpu, u.lost = cpu, lost
}

func TestCPUScalesTheClassHPAOnOneMachine(t *testing.T) {
	u := &uses{cpu: 2000}
	runWith(t, time.Second, loop.Options{Usage: u.measure}, func(p *plant) {
		u.plant = p
		p.Set(model.Scaled{Revision: hello, UID: "1", Annotations: hpaClass("target", "50", "max-scale", "9"),
			Before: model.Before{Replicas: model.UnknownReplicas}})
		time.Sleep(time.Minute)
		if d := p.decision(); d.Replicas != 4 || d.HPA != nil || d.Via != model.ViaReplicas || !strings.Contains(d.Why(), "cpu") {
			t.Errorf("two cores at 50%%: %d replicas (%s), %v", d.Replicas, d.Why(), d.HPA)
		}
		u.set(100, false)
		time.Sleep(4 * time.Minute)
		if d := p.decision(); d.Replicas != 4 {
			t.Errorf("within the stabilisation window: %d replicas (%s)", d.Replicas, d.Why())
		}
		u.set(100, true) // nothing is known from now on
		time.Sleep(10 * time.Minute)
		if d := p.decision(); d.Replicas != 4 {
			t.Errorf("without figures: %d replicas (%s)", d.Replicas, d.Why())
		}
		u.set(100, false)
		time.Sleep(6 * time.Minute)
		if d := p.decision(); d.Replicas != 1 {
			t.Errorf("idle: %d replicas (%s), want 1: this class has no zero", d.Replicas, d.Why())
		}
	})
}

func TestTheOwnerOfAForeignClassScales(t *testing.T) {
	run(t, time.Second, func(p *plant) {
		s := model.Scaled{Revision: hello, UID: "1", Before: model.Before{Replicas: model.UnknownReplicas}, Annotations: map[string]string{
			"autoscaling.knative.dev/class": "mine.example.com", "autoscaling.knative.dev/max-scale": "8",
			"autoscaling.knative.dev/initial-scale": "2", "autoscaling.knative.dev/window": "10s",
			"autoscaling.knative.dev/activation-scale": "3",
		}}
		ask := func(n int) {
			s.Asked = &n
			p.Set(s)
			synctest.Wait()
		}
		p.Set(s)
		p.serve(500) // the load is of no interest
		time.Sleep(5 * time.Minute)
		if d := p.decision(); d.Replicas != 2 || d.Via != model.ViaReplicas || d.HPA != nil {
			t.Fatalf("before the owner has asked: %d replicas, %v (%s)", d.Replicas, d.Via, d.Why())
		}
		ask(7)
		if d := p.decision(); d.Replicas != 7 || !strings.Contains(d.Why(), "mine.example.com asks for 7") {
			t.Errorf("%d replicas (%s), want 7 at once", d.Replicas, d.Why())
		}
		ask(100)
		if d := p.decision(); d.Replicas != 8 {
			t.Errorf("%d replicas (%s), want max-scale", d.Replicas, d.Why())
		}
		time.Sleep(time.Minute)
		ask(1)
		if d := p.decision(); d.Replicas != 1 {
			t.Errorf("%d replicas (%s), want 1 at once", d.Replicas, d.Why())
		}
		ask(0)
		time.Sleep(time.Minute)
		if d := p.decision(); d.Replicas != 0 || d.Via != model.ViaActivator {
			t.Fatalf("%d replicas, %v (%s), want zero", d.Replicas, d.Via, d.Why())
		}
		p.hold(1, 1)
		if d := p.decision(); d.Replicas != 3 {
			t.Errorf("a request wakes %d replicas (%s), want activation-scale", d.Replicas, d.Why())
		}
		time.Sleep(2 * time.Second)
		p.idle()
		time.Sleep(5 * time.Second)
		if d := p.decision(); d.Replicas < 1 || d.Via != model.ViaReplicas {
			t.Errorf("within the window after the request: %d replicas (%s)", d.Replicas, d.Why())
		}
		time.Sleep(2 * time.Minute)
		if d := p.decision(); d.Replicas != 0 {
			t.Errorf("the owner says zero: %d replicas (%s)", d.Replicas, d.Why())
		}
		ask(2)
		if d := p.decision(); d.Replicas != 2 {
			t.Errorf("%d replicas (%s), want 2 at once", d.Replicas, d.Why())
		}
	})
}

func TestCPUIsASignalOfTheDefaultClass(t *testing.T) {
	u := &uses{cpu: 2000}
	runWith(t, time.Second, loop.Options{Usage: u.measure}, func(p *plant) {
		u.plant = p
		p.Set(model.Scaled{Revision: hello, UID: "1", Before: model.Before{Replicas: model.UnknownReplicas},
			Annotations: map[string]string{"sluice.dev/scale-on-cpu": "50", "autoscaling.knative.dev/window": "30s"}})
		p.serve(1)
		time.Sleep(time.Minute)
		if d := p.decision(); d.Replicas != 4 || d.Signal.Signal != "cpu" {
			t.Errorf("two cores at 50%%: %d replicas (%s)", d.Replicas, d.Why())
		}
		p.serve(700) // which asks for ten
		time.Sleep(time.Minute)
		if d := p.decision(); d.Replicas != 10 || d.Signal.Signal != "" {
			t.Errorf("the load needs more: %d replicas (%s)", d.Replicas, d.Why())
		}
		p.serve(0)
		u.set(2000, true)
		time.Sleep(20 * time.Second) // the last figures count for 15
		left := p.decision().Replicas
		time.Sleep(10 * time.Minute)
		if d := p.decision(); left < 4 || d.Replicas != left {
			t.Errorf("without figures: %d replicas (%s), want %d to stay", d.Replicas, d.Why(), left)
		}
		u.set(10, false)
		time.Sleep(10 * time.Minute)
		if d := p.decision(); d.Replicas != 0 {
			t.Errorf("idle: %d replicas (%s), want zero", d.Replicas, d.Why())
		}
		p.hold(1, 1)
		if d := p.decision(); d.Replicas != 1 {
			t.Errorf("a request at zero: %d replicas (%s)", d.Replicas, d.Why())
		}
	})
}

// BenchmarkTickOfThreeSignals is a tick of revisions that requests, CPU and memory scale. One tick in five measures CPU and memory.
func BenchmarkTickOfThreeSignals(b *testing.B) {
	l := loop.New(loop.Options{})
	tick, now := loop.Ticker(l), time.Unix(1e9, 0)
	for i := range 10_000 {
		key := model.Key{Namespace: "default", Name: "r" + strconv.Itoa(i)}
		l.Set(model.Scaled{
			Revision: key, UID: "1", Before: model.Before{Replicas: 1, Active: model.True, Initialized: true},
			Annotations: map[string]string{"sluice.dev/scale-on-cpu": "80", "sluice.dev/scale-on-memory": "200"},
		})
		l.Running(model.WorkloadStatus{Revision: key, UID: "1", Ready: make([]model.Endpoint, 1)})
	}
	loop.Drain(l, now)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		now = now.Add(time.Second)
		loop.Scraped(l, now)
		if n%5 == 0 {
			loop.Used(l, now)
		}
		tick(now)
	}
}
