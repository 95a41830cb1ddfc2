package simulate

import "slices"

// replicas are the replicas of one revision. Times are in ticks of the model.
type replicas struct {
	// asked are all that should run: ready or starting.
	asked, ready int
	// starting are the ticks at which starting replicas will be ready, oldest replica first.
	starting []int64
	// next is the least of them.
	next int64
	// startup and jitter are how long a start takes at least, and how much longer at most.
	startup, jitter int64
	seed, started   uint64
}

// scale changes the number of replicas. Replicas that are not ready end first, the newest before the others, as in a Deployment. The
// requests of a replica that ends run on (queue.running).
func (r *replicas) scale(now int64, to int) {
	for ; r.asked < to; r.asked++ {
		extra := int64(noise(r.seed, r.started) * float64(r.jitter+1))
		r.starting = append(r.starting, now+r.startup+extra)
		r.started++
	}
	if drop := min(r.asked-to, len(r.starting)); drop > 0 {
		r.starting = r.starting[:len(r.starting)-drop]
		r.asked -= drop
	}
	r.ready -= r.asked - to
	r.asked = to
	if len(r.starting) > 0 {
		r.next = slices.Min(r.starting)
	}
}

// settle makes starting replicas ready when they are due.
func (r *replicas) settle(now int64) {
	if len(r.starting) == 0 || now < r.next {
		return
	}
	before := len(r.starting)
	r.starting = slices.DeleteFunc(r.starting, func(at int64) bool { return at <= now })
	r.ready += before - len(r.starting)
	if len(r.starting) > 0 {
		r.next = slices.Min(r.starting)
	}
}
