package gateway

import (
	"math"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// outlierDetection says after how many failures in a row a host is left alone, and for how long. A failure is an attempt that could not
// connect, lost its connection or ran out of time; an answer is none, whatever it says. Unlike Envoy, a host is ejected for the same time
// each time.
type outlierDetection struct {
	failures int32 // 0 is that none is ever ejected
	ejection time.Duration
}

// Envoy's defaults.
const (
	defaultEjectAfter = 5
	defaultEjection   = 30 * time.Second
)

func compileOutlierDetection(m *clusterv3.OutlierDetection) outlierDetection {
	o := outlierDetection{failures: defaultEjectAfter, ejection: durationOr(m.GetBaseEjectionTime(), defaultEjection)}
	if n := m.GetConsecutiveLocalOriginFailure(); n != nil {
		o.failures = int32(min(n.GetValue(), math.MaxInt32))
	}
	if share := m.GetEnforcingConsecutiveLocalOriginFailure(); m == nil || !m.GetSplitExternalLocalOriginErrors() || share != nil && share.GetValue() == 0 {
		o.failures = 0
	}
	return o
}

// standing is what is known of a host by the attempts that were made with it.
type standing struct {
	failures atomic.Int32
	until    atomic.Int64 // when it may be asked again, in nanoseconds since the proxy was made; 0 is now
}

// failed counts a failed attempt.
func (s *standing) failed(o outlierDetection, now time.Duration) {
	if o.failures > 0 && s.failures.Add(1) >= o.failures {
		s.failures.Store(0)
		s.until.Store(int64(now + o.ejection))
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
