package activator

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// counters count since the activator was made.
type counters struct {
	dispatched, retried, coldStarts atomic.Uint64
	activate                        histogram
	parts                           [len(partNames)]histogram

	mu       sync.Mutex
	refusals map[string]uint64 // by reason
}

func (c *counters) refused(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals == nil {
		c.refusals = map[string]uint64{}
	}
	c.refusals[reason]++
}

func (c *counters) coldStart(p parts) {
	c.coldStarts.Add(1)
	c.activate.observe(p.activate)
	for i, d := range p.each {
		c.parts[i].observe(d)
	}
}

// Bounds are the upper bounds of a Histogram's buckets, in seconds: cold starts take from a millisecond to a minute.
var Bounds = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

type histogram struct {
	buckets [len(Bounds) + 1]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	i, _ := slices.BinarySearch(Bounds[:], d.Seconds())
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) read() Histogram {
	var out Histogram
	for i := range h.buckets {
		out.Count += h.buckets[i].Load()
		if i < len(Bounds) {
			out.Cumulative[i] = out.Count
		}
	}
	out.Sum = time.Duration(h.sum.Load())
	return out
}

// Histogram counts durations. Cumulative[i] are those up to Bounds[i].
type Histogram struct {
	Cumulative [len(Bounds)]uint64
	Count      uint64
	Sum        time.Duration
}

// Stats are an activator's figures. Counts are since it was made.
type Stats struct {
	Connected bool // the control plane has answered
	Draining  bool

	Revisions int            // how many are followed
	Held      []HeldRevision // those that have requests now, sorted

	Dispatched uint64            // requests that a replica answered
	Retried    uint64            // attempts that no replica received, and so another followed
	Refused    map[string]uint64 // requests that the activator answered itself, by the Reason constants
	ColdStarts uint64            // requests that waited for a first endpoint
	// Activate is how long these waited, and Parts what for, by the names of the parts: decide, start, ready, endpoints, dispatch.
	Activate Histogram
	Parts    map[string]Histogram
}

// HeldRevision is a revision with requests.
type HeldRevision struct {
	Namespace, Name   string
	InFlight, Waiting int // requests in flight, and those of them that wait for a slot
}

// Stats returns the figures of this moment.
func (a *Activator) Stats() Stats {
	c := &a.stats
	s := Stats{
		Connected: a.connected.Load(), Draining: a.draining.Load(), Revisions: a.revisions.count(),
		Dispatched: c.dispatched.Load(), Retried: c.retried.Load(), ColdStarts: c.coldStarts.Load(),
		Activate: c.activate.read(), Parts: map[string]Histogram{},
	}
	for i, name := range partNames {
		s.Parts[name] = c.parts[i].read()
	}
	c.mu.Lock()
	s.Refused = maps.Clone(c.refusals)
	c.mu.Unlock()
	for r := range a.revisions.all() {
		if inFlight, waiting := r.Counts(); inFlight > 0 {
			s.Held = append(s.Held, HeldRevision{r.name.namespace, r.name.name, inFlight, waiting})
		}
	}
	slices.SortFunc(s.Held, func(a, b HeldRevision) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return s
}
