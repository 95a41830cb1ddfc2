package model

import (
	"math"
	"time"
)

// defaultUtilization is Kubernetes' target for a HorizontalPodAutoscaler that names no metric: percent of the requested CPU.
const defaultUtilization = 80

// Measures returns the metric that counts: without a target it is CPU.
func (h *HPA) Measures() Metric {
	if h.Target <= 0 {
		return CPU
	}
	return h.Metric
}

// Utilization is the target of CPU, in percent of the requested time.
func (h *HPA) Utilization() int32 {
	if h.Target <= 0 {
		return defaultUtilization
	}
	return int32(min(math.Ceil(h.Target), math.MaxInt32))
}

// Bytes is the target of Memory.
func (h *HPA) Bytes() int64 {
	const mebi = 1 << 20
	return int64(max(1, min(h.Target, math.MaxInt32))) * mebi
}

// Usage is what the replicas of a revision use, as their runtime measured it.
type Usage struct {
	Revision Key
	UID      string
	// Replicas are all that exist, measured or not.
	Replicas []ReplicaUsage
}

// ReplicaUsage is what one replica uses. All of its processes count, with their children.
type ReplicaUsage struct {
	// Name tells it apart from the other replicas.
	Name string
	// Started is when it was started; zero when that is not known. Pending says that its processes do not run yet, Ending that it drains.
	Started         time.Time
	Pending, Ending bool
	// Ready says that it takes requests, and Turned is when that last changed; zero when that is not known.
	Ready  bool
	Turned time.Time
	// Request is how much CPU was requested for it, in thousandths of a core.
	Request int64
	// Measured says that the figures below are known: CPU is the mean over Window before At, in thousandths of a core; Memory is resident
	// memory, in bytes.
	Measured    bool
	CPU, Memory int64
	At          time.Time
	Window      time.Duration
}
