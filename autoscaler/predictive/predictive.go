// Package predictive turns the load that is expected into a count of replicas, with its reason. The loop and the simulation share it.
//
// The package is pure: the history and the moment are arguments. It must not know revisions, or where a history is kept.
package predictive

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	"sluice.dev/sluice/model"
)

const (
	// Every is how often a forecast is made again. What is expected until the next one counts already.
	Every = time.Minute
	// Signal is the name of the signal.
	Signal = "the forecast"
	// Observed is its name where the forecast is only shown.
	Observed = "the forecast (only observed)"
)

// Propose returns the count for the load that is expected within a lead and until the next forecast. Share is the part of it that the
// revision gets, from 0 to 1. Without a forecast the count is model.UnknownReplicas.
func Propose(policy *model.Scaling, h *forecast.History, share float64, lead time.Duration, now time.Time) model.Proposal {
	p := model.Proposal{Signal: Signal, Replicas: model.UnknownReplicas}
	if policy.Predictive == model.PredictiveObserve {
		p.Signal = Observed
	}
	if policy.Lead > 0 {
		lead = policy.Lead
	}
	e := h.Expect(now, lead+Every)
	if e.Seasons == 0 {
		p.Why = "the load of this time is known of fewer than two days"
		return p
	}
	load := e.Load * share
	p.Replicas = int(min(math.Ceil(load/max(policy.Target, 0.01)), math.MaxInt32))
	what := "days"
	if e.Weekly {
		what = "such weekdays"
	}
	p.Why = fmt.Sprintf("%s %.3g is expected at %s, by the median of %d %s", policy.Metric, load, e.At.Format("15:04"), e.Seasons, what)
	return p
}
