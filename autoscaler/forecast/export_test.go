package forecast

import "time"

// Point is what is expected at one moment, as it is seen at another one before it.
func Point(h *History, now, at time.Time) float64 {
	s := h.best()
	load, n := h.expected(bucketOf(at), bucketOf(now), s)
	if n < least {
		s = daily
		load, _ = h.expected(bucketOf(at), bucketOf(now), s)
	}
	return load * h.level(bucketOf(now), s)
}
