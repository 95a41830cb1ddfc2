package proxy

import (
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// outlierState is the failures of a host, and until when it is ejected.
type outlierState struct {
	failures atomic.Int32
	until    atomic.Int64 // the end of its ejection, in nanoseconds since the proxy was made; 0 is not ejected
}

// failed counts a failed attempt.
func (s *outlierState) failed(o settings.OutlierDetection, now time.Duration) {
	if o.Failures > 0 && s.failures.Add(1) >= o.Failures {
		s.failures.Store(0)
		s.until.Store(int64(now + o.Ejection))
	}
}

// answered counts a response, which ends a row of failures.
func (s *outlierState) answered() {
	if s.failures.Load() != 0 {
		s.failures.Store(0)
	}
}

// ejected is whether the host is ejected.
func (s *outlierState) ejected(now func() time.Duration) bool {
	until := s.until.Load()
	if until == 0 {
		return false
	}
	if int64(now()) < until {
		return true
	}
	s.until.CompareAndSwap(until, 0)
	return false
}
