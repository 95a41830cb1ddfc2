package xds

import (
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// Stats counts since the server was made, except where a field says now.
type Stats struct {
	Streams   map[string]int // now, by role
	Seq       uint64         // newest state
	Resources int            // in the newest state; one that two roles may have counts twice
	Requests  uint64         // received, acknowledgements too
	TypeStats                // of all types
	Types     map[string]TypeStats
	Denied    map[string]uint64 // streams and inspections that Options.Allow turned away, by role; "status" is one of them

	LoadReports  uint64
	LoadsDropped uint64 // clusters and zones in reports that had invalid numbers
}

// TypeStats counts what concerns one type. Stats.Types has each that resource.TypeName knows, by that name, and the rest as "other".
type TypeStats struct {
	Offered  int // now: resources in the newest state; one that two roles may have counts twice
	Rejected int // now: names that clients NACK; one that clients of two roles NACK counts twice
	session.Traffic
}

// add makes the receiver the sum of both.
func (t *TypeStats) add(o TypeStats) {
	t.Offered += o.Offered
	t.Rejected += o.Rejected
	t.Traffic.Add(o.Traffic)
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	now := s.hub.Stats()
	stats := Stats{
		Streams: map[string]int{}, Seq: now.Seq, Resources: now.Resources,
		Types: map[string]TypeStats{}, Requests: s.requests.Load(), Denied: s.denials.counts(),
	}
	stats.LoadReports, stats.LoadsDropped = s.loads.Reports()
	count := func(url string, t TypeStats) {
		name := resource.TypeName(url)
		sum := stats.Types[name]
		sum.add(t)
		stats.Types[name] = sum
		stats.add(t)
	}
	for rank, k := range resource.Kinds {
		count(k.URL, TypeStats{Traffic: s.hub.Traffic(rank)})
	}
	for _, t := range now.Types {
		count(t.Type, TypeStats{Offered: t.Offered, Rejected: t.Rejected})
	}
	for i, streams := range now.Streams {
		stats.Streams[contract.RoleName(1<<i)] = streams
	}
	return stats
}
