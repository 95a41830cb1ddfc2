package autoscaler

import (
	"errors"

	"sluice.dev/sluice/model"
)

// Fits says which annotations of a revision ask for more than the most replicas that the machine runs; a most of 0 means no bound. Its
// error has the form of Validate's.
func Fits(most int, a map[string]string) error {
	if most == 0 {
		return nil
	}
	v := validator{annotations: a}
	for _, key := range []string{keyMinScale, keyInitialScale, keyActivationScale} {
		k, text, ok := v.find(key)
		if !ok {
			continue
		}
		if n, err := parseInt(text); err == nil && n > most {
			v.wrong(k, "%s=%d is more than the %d replicas that this machine runs at most (--max-replicas)", key, n, most)
		}
	}
	return errors.Join(v.errs...)
}

// Measured says that the class HPA is asked to scale on a metric that only a cluster has. Its error has the form of Validate's.
func Measured(c *Config, a map[string]string) error {
	v := validator{annotations: a, config: c}
	k, metric, ok := v.find(keyMetric)
	if ok && v.text(keyClass, c.Class) == HPA && metric != string(model.CPU) && metric != string(model.Memory) {
		v.wrong(k, "metric=%s is not known on one machine: want cpu or memory", metric)
	}
	return errors.Join(v.errs...)
}
