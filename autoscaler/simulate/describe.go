package simulate

import (
	"fmt"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// Describe sums a policy up in a line: its bounds, targets and windows, and what differs from Knative's defaults.
func Describe(p *model.Scaling, concurrency int) string {
	parts := []string{fmt.Sprintf("target %.4g of %.4g %s", p.Target, p.Total, p.Metric)}
	if concurrency > 0 {
		parts = append(parts, fmt.Sprintf("containerConcurrency %d", concurrency))
	}
	most := "no limit"
	if p.MaxScale > 0 {
		most = fmt.Sprint(p.MaxScale)
	}
	parts = append(parts, fmt.Sprintf("scale %d to %s", p.MinScale, most),
		fmt.Sprintf("window %v, panic %v at %.0f %%", short(p.StableWindow), short(p.PanicWindow), p.PanicThreshold*100),
		fmt.Sprintf("burst capacity %.4g", p.TargetBurstCapacity))
	for _, o := range []struct {
		given bool
		text  string
	}{
		{p.Aggregation == model.WeightedExponential, "weighted-exponential"},
		{p.InitialScale > 1, fmt.Sprintf("initial scale %d", p.InitialScale)},
		{p.ActivationScale > 1, fmt.Sprintf("activation scale %d", p.ActivationScale)},
		{p.ScaleDownDelay > 0, fmt.Sprintf("scale-down delay %v", short(p.ScaleDownDelay))},
		{p.Retention > 0, fmt.Sprintf("retention %v", short(p.Retention))},
		{p.Predictive == model.PredictiveObserve, "forecast observed"},
		{p.Predictive == model.PredictiveAuto, "forecast"},
		{!p.ScaleToZero, "never to zero"},
	} {
		if o.given {
			parts = append(parts, o.text)
		}
	}
	return strings.Join(parts, ", ")
}

// short writes a duration without zeros at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
