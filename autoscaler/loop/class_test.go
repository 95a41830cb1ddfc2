package loop_test

import (
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
		if d.Replicas != 2 || d.Via != model.ViaActivator || d.HPA == nil || *d.HPA != (model.HPA{Min: 2, Max: 9, Metric: model.CPU, Target: 70}) {
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
		s := model.Scaled{Revision: hello, UID: "1", Annotations: hpaClass("min-scale", "5"), Before: model.Before{Replicas: model.UnknownReplicas}}
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
