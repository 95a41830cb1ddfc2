package predictive

import (
	"testing"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	"sluice.dev/sluice/model"
)

func TestCountFollowsFromWhatIsExpected(t *testing.T) {
	noon := time.Date(2027, 3, 3, 12, 0, 0, 0, time.UTC)
	policy := model.Scaling{Metric: model.Concurrency, Target: 7, Predictive: model.PredictiveAuto}
	var h forecast.History
	p := Propose(&policy, &h, 1, time.Minute, noon)
	if p.Replicas != model.UnknownReplicas || p.Signal != Signal || p.Why == "" {
		t.Errorf("an empty history proposes %+v, want no count and the reason", p)
	}
	for _, days := range []int{2, 1} {
		h.Record(noon.AddDate(0, 0, -days), 40)
		h.Record(noon.AddDate(0, 0, -days).Add(30*time.Minute), 80)
	}
	for _, c := range []struct {
		share    float64
		lead     time.Duration
		mode     model.Predictive
		signal   string
		replicas int
	}{
		{1, 0, model.PredictiveAuto, Signal, 6},
		{0.5, 0, model.PredictiveAuto, Signal, 3},
		{1, 30 * time.Minute, model.PredictiveAuto, Signal, 12},
		{1, 0, model.PredictiveObserve, Observed, 6},
	} {
		policy.Predictive, policy.Lead = c.mode, c.lead
		if p := Propose(&policy, &h, c.share, time.Minute, noon); p.Replicas != c.replicas || p.Signal != c.signal {
			t.Errorf("%+v: got %+v", c, p)
		}
	}
}
