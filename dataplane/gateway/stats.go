package gateway

import (
	"sync/atomic"
	"time"
)

// statusClasses counts by the first digit of the status, under 1 to 5.
type statusClasses [6]atomic.Uint64

func (s *statusClasses) add(status int) {
	if class := status / 100; class > 0 && class < len(s) {
		s[class].Add(1)
	}
}

// clusterStats are one cluster's counters under Envoy's names.
type clusterStats struct {
	rqTotal, rqTimeout, rqRetry atomic.Uint64
	rqActive                    atomic.Int64
	rqXX                        statusClasses
	rqTime                      histogram
	cxTotal, cxConnectFail      atomic.Uint64
	cxActive                    atomic.Int64
	cxNoneHealthy               atomic.Uint64
	membershipChange            atomic.Uint64
}

// managerStats are the counters of one stat_prefix of an HTTP connection manager.
type managerStats struct {
	rqTotal  atomic.Uint64
	rqActive atomic.Int64
	rqXX     statusClasses
}

// histogramBounds are Envoy's default upper bounds of buckets, in milliseconds.
var histogramBounds = [...]float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

// histogram counts durations; the last bucket takes what is beyond all bounds.
type histogram struct {
	buckets [len(histogramBounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // microseconds
}

func (h *histogram) observe(d time.Duration) {
	ms := float64(d) / float64(time.Millisecond)
	i := 0
	for i < len(histogramBounds) && ms > histogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(max(0, d.Microseconds())))
}
