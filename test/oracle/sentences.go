package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"

	"knative.dev/serving/pkg/apis/autoscaling"
	asconfig "knative.dev/serving/pkg/autoscaler/config"
)

// annotationCases are annotations without their group: "key=value key=value".
var annotationCases = strings.Split(`class=x.knative.dev
class=mine.example.com metric=anything
class=hpa.autoscaling.knative.dev metric=
class=hpa.autoscaling.knative.dev metric=cpu
metric=cpu
metric=rps
min-scale=-1
minScale=x
min-scale=99999999999
min-scale=3 max-scale=2
min-scale=3 maxScale=0
max-scale=1.5
activation-scale=x
activation-scale=1
activation-scale=2
activation-scale=3 min-scale=4
activation-scale=5 max-scale=4
panic-window-percentage=0.5
panicWindowPercentage=x
panic-window-percentage=101
panic-threshold-percentage=109
panic-threshold-percentage=1001
panic-threshold-percentage=x
target=0.001
target=x
target=0.01
target-utilization-percentage=0
target-utilization-percentage=100.5
targetUtilizationPercentage=x
target-burst-capacity=-2
target-burst-capacity=-1
targetBurstCapacity=x
window=5s
window=61m
window=6500ms
window=x
scale-down-delay=-1s
scale-down-delay=61m
scale-down-delay=1500ms
scaleDownDelay=x
scale-to-zero-pod-retention-period=-1s
scale-to-zero-pod-retention-period=2h
scale-to-zero-pod-retention-period=1500ms
scaleToZeroPodRetentionPeriod=x
class=kpa.autoscaling.knative.dev metric-aggregation-algorithm=median
metric-aggregation-algorithm=median
initial-scale=0
initial-scale=-1
initialScale=x
min-scale=2 minScale=x`, "\n")

// configCases are settings of config-autoscaler.
var configCases = strings.Split(`enable-scale-to-zero=maybe
stable-window=x
initial-scale=1.5
max-scale-up-rate=x
scale-to-zero-grace-period=0s
scale-down-delay=-1s
scale-down-delay=1500ms
scale-to-zero-pod-retention-period=-1s
target-burst-capacity=-2
container-concurrency-target-percentage=0
container-concurrency-target-percentage=101
container-concurrency-target-percentage=0.5
container-concurrency-target-default=0.001
requests-per-second-target-default=0
activator-capacity=0.5
max-scale-up-rate=1
max-scale-down-rate=1
stable-window=5s
stable-window=61m
stable-window=6500ms
panic-window-percentage=0
panic-window-percentage=101
initial-scale=0
initial-scale=0 allow-zero-initial-scale=true
min-scale=-1
max-scale=-1
max-scale-limit=5
max-scale=6 max-scale-limit=5
max-scale-limit=-1
min-scale=3 max-scale=2
unheard-of=1`, "\n")

// writeSentences writes each case with Knative's quoted error message, which is empty for valid settings.
func writeSentences(path string) error {
	var b strings.Builder
	config, err := asconfig.NewConfigFromMap(nil)
	if err != nil {
		return fmt.Errorf("reading the defaults: %w", err)
	}
	for _, c := range annotationCases {
		annotations := map[string]string{}
		for k, v := range settings(c) {
			annotations[group+k] = v
		}
		said := ""
		if err := autoscaling.ValidateAnnotations(context.Background(), config, annotations); err != nil {
			said = err.Error()
		}
		fmt.Fprintf(&b, "annotations\t%s\t%q\n", c, said)
	}
	for _, c := range configCases {
		said := ""
		if _, err := asconfig.NewConfigFromMap(maps.Collect(settings(c))); err != nil {
			said = err.Error()
		}
		fmt.Fprintf(&b, "config\t%s\t%q\n", c, said)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// settings yields the keys and values of a case.
func settings(c string) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for _, field := range strings.Fields(c) {
			k, v, _ := strings.Cut(field, "=")
			if !yield(k, v) {
				return
			}
		}
	}
}
