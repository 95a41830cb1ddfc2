package config

import "sluice.dev/sluice/autoscaler"

// AutoscalerName is the ConfigMap of the autoscaler's settings.
const AutoscalerName = "config-autoscaler"

// readAutoscaler leaves the reading to the autoscaler, which has Knative's sentences.
func readAutoscaler(s *Settings, k *keys) {
	unknown := map[string]bool{}
	for _, key := range autoscaler.UnknownKeys(k.data) {
		unknown[key] = true
	}
	for key := range k.data {
		k.known[key] = !unknown[key]
	}
	c, err := autoscaler.ParseConfig(k.data)
	if err != nil {
		k.errs = append(k.errs, err)
		return
	}
	s.Autoscaler = c
}
