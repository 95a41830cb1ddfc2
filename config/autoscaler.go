package config

import (
	"math"
	"strconv"
	"time"

	"sluice.dev/sluice/autoscaler"
)

// AutoscalerName is the ConfigMap of the autoscaler's settings.
const AutoscalerName = "config-autoscaler"

// The keys of config-autoscaler by what their texts are. pod-autoscaler-class is any text.
var (
	autoscalerBooleans  = []string{"allow-zero-initial-scale", "enable-scale-to-zero"}
	autoscalerCounts    = []string{"initial-scale", "max-scale", "max-scale-limit", "min-scale"}
	autoscalerDurations = []string{
		"scale-down-delay", "scale-to-zero-grace-period", "scale-to-zero-pod-retention-period", "stable-window",
	}
	autoscalerNumbers = []string{
		"activator-capacity", "container-concurrency-target-default", "container-concurrency-target-percentage",
		"max-scale-down-rate", "max-scale-up-rate", "panic-threshold-percentage", "panic-window-percentage",
		"requests-per-second-target-default", "target-burst-capacity",
	}
)

// readAutoscaler finds texts that are no values. It leaves the rules to the autoscaler, which has Knative's sentences.
func readAutoscaler(s *Settings, k *keys) {
	k.get("pod-autoscaler-class")
	for _, key := range autoscalerBooleans {
		k.boolean(key, new(bool))
	}
	for _, key := range autoscalerCounts {
		read(k, key, new(int64), "a whole number", func(text string) (int64, bool) {
			v, err := strconv.ParseInt(text, 10, 32)
			return v, err == nil
		})
	}
	for _, key := range autoscalerDurations {
		read(k, key, new(time.Duration), "a duration such as 60s", func(text string) (time.Duration, bool) {
			v, err := time.ParseDuration(text)
			return v, err == nil
		})
	}
	for _, key := range autoscalerNumbers {
		read(k, key, new(float64), "a number", func(text string) (float64, bool) {
			v, err := strconv.ParseFloat(text, 64)
			return v, err == nil && !math.IsNaN(v) && !math.IsInf(v, 0)
		})
	}
	if len(k.errs) > 0 {
		return
	}
	c, err := autoscaler.ParseConfig(k.data)
	if err != nil {
		k.errs = append(k.errs, err)
		return
	}
	s.Autoscaler = c
}
