package autoscaler

import (
	"testing"

	"sluice.dev/sluice/model"
)

// TestALimitThatOnlyActivatorsEnforceKeepsThemInThePath, unless the revision says otherwise.
func TestALimitThatOnlyActivatorsEnforceKeepsThemInThePath(t *testing.T) {
	c := DefaultConfig()
	straight := map[string]string{"autoscaling.knative.dev/target-burst-capacity": "0"}
	for name, v := range map[string]struct {
		template Template
		want     float64
	}{
		"a limit, no queue-proxy": {Template{Source: model.FromEnvoy, Concurrency: 1}, -1},
		"no limit":                {Template{Source: model.FromEnvoy}, c.TargetBurstCapacity},
		"a queue-proxy":           {Template{Source: model.FromQueueProxy, Concurrency: 1}, c.TargetBurstCapacity},
		"no source":               {Template{Concurrency: 1}, c.TargetBurstCapacity},
		"its own word":            {Template{Source: model.FromEnvoy, Concurrency: 1, Annotations: straight}, 0},
	} {
		if got := Policy(&c, v.template).TargetBurstCapacity; got != v.want {
			t.Errorf("%s: the target burst capacity is %v, want %v", name, got, v.want)
		}
	}
}
