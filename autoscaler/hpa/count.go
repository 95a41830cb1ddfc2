package hpa

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/model"
)

// Kubernetes' defaults, which are flags of its controller manager.
const (
	// tolerance is how far the ratio of the measured to the wanted figure may be from 1 without a change of the count.
	tolerance = 0.1
	// initialization is for how long after its start the CPU of a replica counts only where it is ready and was so for a whole window.
	initialization = 5 * time.Minute
	// initialReadiness is for how long after its start a replica that turns unready has not been ready yet.
	initialReadiness = 30 * time.Second
)

// figures are the replicas of a revision, by what is known of them.
type figures struct {
	metric model.Metric
	target int64 // of CPU percent, of memory thousandths of a byte

	total    int64 // what the replicas that count use together: thousandths of a core, or of a byte
	requests int64 // and what was requested for them
	counted  int   // how many those are

	missing         int   // replicas without figures
	missingRequests int64 // what was requested for them
	unready         int
	unreadyRequests int64
}

// group sorts the replicas (groupPods of replica_calculator.go).
func group(p *model.HPA, replicas []model.ReplicaUsage, now time.Time) figures {
	f := figures{metric: p.Measures(), target: int64(p.Utilization())}
	if f.metric == model.Memory {
		f.target = min(p.Bytes(), mostMemory) * 1000
	}
	for i := range replicas {
		r := &replicas[i]
		switch {
		case r.Ending:
		case r.Pending || r.Measured && f.metric == model.CPU && starts(r, now):
			f.unready++
			f.unreadyRequests += r.Request
		case !r.Measured:
			f.missing++
			f.missingRequests += r.Request
		default:
			f.counted++
			f.requests += r.Request
			f.total += f.usage(r)
		}
	}
	return f
}

// What a replica may use, so that sums stay within 64 bits: bytes, and thousandths of a core. A larger figure is wrong.
const mostMemory, mostCPU = 1e13, 1e12

func (f *figures) usage(r *model.ReplicaUsage) int64 {
	if f.metric == model.Memory {
		return max(0, min(r.Memory, mostMemory)) * 1000
	}
	return max(0, min(r.CPU, mostCPU))
}

// starts says that the CPU of a replica is still that of its start.
func starts(r *model.ReplicaUsage, now time.Time) bool {
	switch {
	case r.Started.IsZero() || r.Turned.IsZero():
		return true
	case r.Started.Add(initialization).After(now):
		return !r.Ready || r.At.Before(r.Turned.Add(r.Window))
	}
	return !r.Ready && r.Started.Add(initialReadiness).After(r.Turned)
}

// ratio is what is used, in relation to the target.
func (f *figures) ratio() float64 { return float64(f.figure()) / float64(f.target) }

// figure is what the replicas use on average: percent of the requested CPU, or thousandths of a byte.
func (f *figures) figure() int64 {
	if f.metric == model.Memory {
		return f.total / int64(f.counted)
	}
	return int64(int32(min(f.total*100/f.requests, math.MaxInt32)))
}

// why is the figure in words.
func (f *figures) why() string {
	if f.metric == model.Memory {
		const mebi = 1 << 20 * 1000
		return fmt.Sprintf("memory is %d MiB per replica at a target of %d MiB", f.figure()/mebi, f.target/mebi)
	}
	return fmt.Sprintf("cpu is at %d%% of the request at a target of %d%%", f.figure(), f.target)
}

// count returns the count that the figures ask for, with its why (GetResourceReplicas and GetRawResourceReplicas of replica_calculator.go).
// It is model.UnknownReplicas while no replica has figures that count.
func count(p *model.HPA, current int, replicas []model.ReplicaUsage, now time.Time) (int, string) {
	f := group(p, replicas, now)
	if f.metric != model.CPU && f.metric != model.Memory {
		return model.UnknownReplicas, fmt.Sprintf("the metric %s is not known here: cpu and memory are", f.metric)
	}
	if f.counted == 0 || f.metric == model.CPU && f.requests <= 0 {
		return model.UnknownReplicas, "no replica that is ready has figures yet"
	}
	why := f.why() // before figures are assumed
	return f.count(current), why
}

// count returns the count that figures ask for.
func (f *figures) count(current int) int {
	ratio := f.ratio()
	unreadyCount := f.unready > 0 && ratio > 1
	if !unreadyCount && f.missing == 0 {
		if within(ratio) {
			return current
		}
		return ceil(ratio * float64(f.counted))
	}
	f.assume(ratio, unreadyCount)
	again := f.ratio()
	wanted := ceil(again * float64(f.counted))
	if within(again) || turns(ratio, again) || turns(again, float64(wanted)/float64(current)) {
		return current
	}
	return wanted
}

// turns says that of two ratios one asks for more and the other for less.
func turns(a, b float64) bool { return a < 1 && b > 1 || a > 1 && b < 1 }

// assume adds figures for the replicas that have none, so that they make the change smaller: nothing when more replicas are needed, and
// when fewer are, the request of CPU and the target of memory.
func (f *figures) assume(ratio float64, unreadyCount bool) {
	if f.missing > 0 && ratio != 1 {
		f.counted += f.missing
		f.requests += f.missingRequests
	}
	switch {
	case f.missing == 0 || ratio >= 1:
	case f.metric == model.Memory:
		f.total += int64(f.missing) * f.target
	default:
		f.total += f.missingRequests * max(100, f.target) / 100
	}
	if unreadyCount {
		f.counted += f.unready
		f.requests += f.unreadyRequests
	}
}

func within(ratio float64) bool { return 1-tolerance <= ratio && ratio <= 1+tolerance }

// ceil rounds up to a count, within 32 bits as in Kubernetes' API.
func ceil(v float64) int { return int(min(math.Ceil(v), math.MaxInt32)) }
