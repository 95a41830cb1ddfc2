package autoscaler

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/model"
)

// usageTolerance is how far what the replicas use may be from the target without a change of the count: that of Kubernetes' autoscaler.
const usageTolerance = 0.1

// Usage makes proposals from what the replicas of a revision use. The zero Usage has no figures. Its CPU is the mean over the stable
// window, its memory that of the last measurement, since memory is not given back at once.
type Usage struct {
	samples []usageSample // of the stable window, the oldest first
	sum     float64       // of their CPU
	cpu     model.Proposal
	memory  model.Proposal
}

// usageSample is what all replicas use, in units of what one replica should use.
type usageSample struct {
	at  time.Time
	cpu float64
}

// Signals of what replicas use.
const (
	signalCPU    = "cpu"
	signalMemory = "memory"
)

// Record takes a measurement of all replicas. One without figures counts as one at its target, so that missing figures never scale down;
// replicas that do not run yet, or drain, do not count.
func (u *Usage) Record(p *model.Scaling, replicas []model.ReplicaUsage, now time.Time) {
	counted, measured := 0, 0
	var cpu, memory float64
	for i := range replicas {
		r := &replicas[i]
		if r.Pending || r.Ending {
			continue
		}
		counted++
		if !r.Measured {
			cpu, memory = cpu+1, memory+1
			continue
		}
		measured++
		cpu += share(float64(r.CPU), float64(r.Request)*p.CPU/100)
		memory += share(float64(r.Memory), p.Memory*(1<<20))
	}
	if measured == 0 {
		return
	}
	u.add(usageSample{now, cpu}, p.StableWindow)
	mean := u.sum / float64(len(u.samples))
	u.cpu = propose(signalCPU, mean, counted)
	u.memory = propose(signalMemory, memory, counted)
	if u.cpu.Replicas == 1 && mean < usageTolerance {
		u.cpu.Replicas = 0 // it is idle
	}
	if u.memory.Replicas == 1 {
		u.memory.Replicas = 0 // a replica always has some, so memory alone never keeps the last one
	}
	u.cpu.Why = fmt.Sprintf("the replicas use %.3g times the CPU that one should (scale-on-cpu %g%%)", mean, p.CPU)
	u.memory.Why = fmt.Sprintf("the replicas use %.3g times the memory that one should (scale-on-memory %g MiB)", memory, p.Memory)
}

// share is a figure in relation to its target, within what can be a count.
func share(figure, target float64) float64 {
	v := figure / max(target, 1e-9)
	if !(v >= 0) {
		return 0
	}
	return min(v, math.MaxInt32)
}

func (u *Usage) add(s usageSample, window time.Duration) {
	u.samples = append(u.samples, s)
	u.sum += s.cpu
	old := 0
	for s.at.Sub(u.samples[old].at) >= window && old < len(u.samples)-1 {
		u.sum -= u.samples[old].cpu
		old++
	}
	u.samples = append(u.samples[:0], u.samples[old:]...)
}

// propose returns the count for what is used, or the present one when that is within the tolerance.
func propose(signal string, used float64, present int) model.Proposal {
	p := model.Proposal{Signal: signal, Replicas: count(math.Ceil(used))}
	if present > 0 && math.Abs(used/float64(present)-1) <= usageTolerance {
		p.Replicas = present
	}
	return p
}

// Propose appends the proposals of the signals that a policy has. They have no data when the last measurement is older than patience.
func (u *Usage) Propose(p *model.Scaling, to []model.Proposal, now time.Time, patience time.Duration) []model.Proposal {
	stale := len(u.samples) == 0 || now.Sub(u.samples[len(u.samples)-1].at) > patience
	add := func(signal string, from model.Proposal) {
		if stale {
			from = model.Proposal{Signal: signal, Replicas: model.UnknownReplicas}
		}
		to = append(to, from)
	}
	if p.CPU > 0 {
		add(signalCPU, u.cpu)
	}
	if p.Memory > 0 {
		add(signalMemory, u.memory)
	}
	return to
}
