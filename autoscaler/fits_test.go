package autoscaler

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatTheMachineDoesNotRunIsRefused(t *testing.T) {
	for _, c := range []struct {
		key, value string
		most       int
		want       string
	}{
		{"autoscaling.knative.dev/min-scale", "2147483647", 300,
			"min-scale=2147483647 is more than the 300 replicas that this machine runs at most (--max-replicas): " +
				"autoscaling.knative.dev/min-scale"},
		{"autoscaling.knative.dev/minScale", "301", 300, "min-scale=301 is more than"},
		{"autoscaling.knative.dev/initial-scale", "301", 300, "initial-scale=301 is more than"},
		{"autoscaling.knative.dev/activation-scale", "301", 300, "activation-scale=301 is more than"},
		{"autoscaling.knative.dev/min-scale", "300", 300, ""},
		{"autoscaling.knative.dev/max-scale", "2147483647", 300, ""}, // it asks for none
		{"autoscaling.knative.dev/min-scale", "nonsense", 300, ""},   // which Validate says
		{"autoscaling.knative.dev/min-scale", "2147483647", 0, ""},
	} {
		err := Fits(c.most, map[string]string{c.key: c.value})
		if got := ""; err != nil {
			got = err.Error()
			if c.want == "" || !strings.Contains(got, c.want) {
				t.Errorf("%s=%s: %q, want %q", c.key, c.value, got, c.want)
			}
		} else if c.want != "" {
			t.Errorf("%s=%s is not refused", c.key, c.value)
		}
	}
}

func TestOneMachineMeasuresCPUAndMemory(t *testing.T) {
	c := DefaultConfig()
	for metric, want := range map[string]string{
		"cpu": "", "memory": "", "rps": "metric=rps is not known on one machine: want cpu or memory: autoscaling.knative.dev/metric",
	} {
		err := Measured(&c, map[string]string{"autoscaling.knative.dev/class": HPA, "autoscaling.knative.dev/metric": metric})
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") {
			t.Errorf("%s: %q, want %q", metric, got, want)
		}
	}
	if err := Measured(&c, map[string]string{"autoscaling.knative.dev/metric": "rps"}); err != nil {
		t.Errorf("the default class: %v", err)
	}
}
