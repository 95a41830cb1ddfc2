package external

import (
	"fmt"
	"math"

	"sluice.dev/sluice/model"
)

const (
	// tolerance is the deviation of the ratio from 1 within which Value keeps the replicas, as in Kubernetes.
	tolerance = 0.1
	// grain is the relative error of a division of decimal fractions that must not cost a replica.
	grain = 1e-9
)

// reading is an answer of a source.
type reading struct {
	active  bool
	metrics []model.ScalerMetric
}

// check finds figures that nothing can be scaled by. The error is the sentence of a status.
func (r reading) check() error {
	for _, m := range r.metrics {
		switch {
		case math.IsNaN(m.Value) || math.IsInf(m.Value, 0):
			return fmt.Errorf("the value of %s is %v, want a finite number", m.Name, m.Value)
		case m.Value < 0:
			return fmt.Errorf("the value of %s is %.6g, want 0 or more", m.Name, m.Value)
		case math.IsNaN(m.Target) || math.IsInf(m.Target, 0) || m.Target <= 0:
			return fmt.Errorf("the target of %s is %.6g, want more than 0; spec.targetValue replaces it", m.Name, m.Target)
		}
	}
	return nil
}

// count returns how many replicas a reading asks for, and why. Of several metrics the one that asks for most counts. An active source asks
// for one replica at least, and for no more than most.
//
// The formulas are those of Kubernetes' HorizontalPodAutoscaler for external metrics (pkg/controller/podautoscaler/replica_calculator.go):
// AverageValue is the value over the target, rounded up. Value is the ratio of both times the ready replicas, rounded up; within a
// tolerance of 0.1 it keeps those. AverageValue has no tolerance here, so a queue of one item has its replica.
func count(r reading, kind model.MetricType, ready, most int) (replicas int, why string) {
	if !r.active {
		return 0, "it is not active"
	}
	replicas, why = 1, "it is active"
	for _, m := range r.metrics {
		ratio := m.Value / m.Target
		n, text := ceil(ratio), fmt.Sprintf("%s is %.6g at a target of %.6g per replica", m.Name, m.Value, m.Target)
		if kind == model.Value {
			n, text = byRatio(ratio, ready), fmt.Sprintf("%s is %.6g at a target of %.6g, with %d ready", m.Name, m.Value, m.Target, ready)
		}
		if n > replicas || n == replicas && why == "it is active" {
			replicas, why = n, text
		}
	}
	if replicas > most {
		replicas, why = most, why+"; maxReplicas allows no more"
	}
	return replicas, why
}

// byRatio is the count by the ratio of a value to its target. The first replica of none is by the ratio alone.
func byRatio(ratio float64, ready int) int {
	switch {
	case ready == 0:
		return ceil(ratio)
	case math.Abs(ratio-1) <= tolerance:
		return ready
	}
	return ceil(ratio * float64(ready))
}

// ceil rounds up to a count within 32 bits.
func ceil(v float64) int { return int(min(math.Ceil(v*(1-grain)), math.MaxInt32)) }
