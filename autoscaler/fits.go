package autoscaler

import "errors"

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
