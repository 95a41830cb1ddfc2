package autoscaler

import (
	"math"

	"sluice.dev/sluice/model"
)

// Led returns the policy of a revision whose count others decide, and propose as a signal: Decide then follows the signal within the
// bounds, at any rate, and sends requests to the replicas as long as there are any.
// A least count of 1 or more takes the place of min-scale, and there is no zero.
func Led(p model.Scaling, least int) model.Scaling {
	p.MaxScaleUpRate, p.MaxScaleDownRate = math.MaxInt32, math.MaxInt32
	p.TargetBurstCapacity, p.ScaleDownDelay, p.ActivationScale = 0, 0, 0
	if least > 0 {
		p.ScaleToZero, p.MinScale, p.InitialScale = false, least, max(least, p.InitialScale)
	}
	return p
}
