package proxy

import (
	"sync/atomic"
	"time"
)

// StatusClasses counts responses by the first digit of the status, at index 1 to 5.
type StatusClasses [6]atomic.Uint64

func (s *StatusClasses) add(status int) {
	if class := status / 100; class > 0 && class < len(s) {
		s[class].Add(1)
	}
}

// ClusterStats are one cluster's counters, under Envoy's names.
type ClusterStats struct {
	RqTotal, RqTimeout, RqRetry atomic.Uint64
	RqActive                    atomic.Int64
	RqXX                        StatusClasses
	RqTime                      Histogram
	CxTotal, CxConnectFail      atomic.Uint64
	CxActive                    atomic.Int64
	CxNoneHealthy               atomic.Uint64
	MembershipChange            atomic.Uint64
}

// ManagerStats are the counters of all HTTP connection managers of one stat_prefix, under Envoy's names.
type ManagerStats struct {
	RqTotal  atomic.Uint64
	RqActive atomic.Int64
	RqXX     StatusClasses
}

// HistogramBounds are Envoy's default upper bounds of buckets, in milliseconds.
var HistogramBounds = [...]float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

// Histogram counts durations. The last bucket counts those above all bounds.
type Histogram struct {
	Buckets [len(HistogramBounds) + 1]atomic.Uint64
	Sum     atomic.Uint64 // microseconds
}

func (h *Histogram) observe(d time.Duration) {
	ms := float64(d) / float64(time.Millisecond)
	i := 0
	for i < len(HistogramBounds) && ms > HistogramBounds[i] {
		i++
	}
	h.Buckets[i].Add(1)
	h.Sum.Add(uint64(max(0, d.Microseconds())))
}
