package proxy

import (
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// standing is what is known of a host by the attempts that were made with it.
type standing struct {
	failures atomic.Int32
	until    atomic.Int64 // when it may be asked again, in nanoseconds since the proxy was made; 0 is now
}

// failed counts a failed attempt.
func (s *standing) failed(o settings.OutlierDetection, now time.Duration) {
	if o.Failures > 0 && s.failures.Add(1) >= o.Failures {
		s.failures.Store(0)
		s.until.Store(int64(now + o.Ejection))
	}
}

// answered counts an answer. Only what failed since is held against the host from now on.
func (s *standing) answered() {
	if s.failures.Load() != 0 {
		s.failures.Store(0)
	}
}

// ejected is whether the host is to be left alone.
func (s *standing) ejected(now func() time.Duration) bool {
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
