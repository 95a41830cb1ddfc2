package xds

import "sync/atomic"

// Stats counts since the server was made, but for what is said to be of now.
type Stats struct {
	Streams   map[string]int // now, by role
	Seq       uint64         // newest state
	Resources int            // in the newest state; one that two roles may have counts twice
	Requests  uint64         // received, acknowledgements too
	TypeStats                // of all types
	Types     map[string]TypeStats
	Denied    map[string]uint64 // streams and inspections that Options.Allow turned away, by role; "status" is one of them

	LoadReports  uint64
	LoadsDropped uint64 // clusters and zones in reports that made no sense
}

// TypeStats counts what concerns one type. Types has each that TypeName knows, by that name, and the rest as "other".
type TypeStats struct {
	Offered int    // now: resources in the newest state; one that two roles may have counts twice
	Refused int    // now: names that clients refuse; one that clients of two roles refuse counts twice
	Pushes  uint64 // responses sent
	Bytes   uint64 // bytes of resource bodies sent
	Acks    uint64
	Nacks   uint64
}

// add makes the receiver the sum of both.
func (t *TypeStats) add(o TypeStats) {
	t.Offered += o.Offered
	t.Refused += o.Refused
	t.Pushes += o.Pushes
	t.Bytes += o.Bytes
	t.Acks += o.Acks
	t.Nacks += o.Nacks
}

// otherTypes is the name of all types without one of their own, so that clients cannot make up more.
const otherTypes = "other"

// typeNames are what operators call the types.
var typeNames = []struct{ url, name string }{
	{ClusterType, "cds"}, {EndpointType, "eds"}, {SecretType, "sds"},
	{ListenerType, "lds"}, {ScopedRouteType, "srds"}, {RouteType, "rds"},
}

// TypeName is the short name of a type by its URL: cds, eds, sds, lds, srds, rds, or "other".
func TypeName(url string) string {
	for _, t := range typeNames {
		if t.url == url {
			return t.name
		}
	}
	return otherTypes
}

// TypeURL is the URL of a type by its short name; empty if none has it.
func TypeURL(name string) string {
	for _, t := range typeNames {
		if t.name == name {
			return t.url
		}
	}
	return ""
}

// kindCounters count the traffic of a kind.
type kindCounters struct{ pushes, bytes, acks, nacks atomic.Uint64 }

// traffic counts that of one type at one client; the stream's writer owns it.
type traffic struct{ pushes, bytes, acks, nacks uint64 }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	stats := Stats{
		Streams:      map[string]int{},
		Types:        map[string]TypeStats{},
		Requests:     s.counters.requests.Load(),
		Denied:       s.denials.counts(),
		LoadReports:  s.counters.loads.Load(),
		LoadsDropped: s.counters.loadsDropped.Load(),
	}
	count := func(url string, t TypeStats) {
		name := TypeName(url)
		sum := stats.Types[name]
		sum.add(t)
		stats.Types[name] = sum
		stats.add(t)
	}
	for i, k := range kinds {
		c := &s.counters.kinds[i]
		count(k.url, TypeStats{
			Pushes: c.pushes.Load(), Bytes: c.bytes.Load(), Acks: c.acks.Load(), Nacks: c.nacks.Load(),
		})
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	stats.Seq, stats.Resources = s.store.seq, s.store.count
	for i, streams := range s.store.streams {
		stats.Streams[RoleName(1<<i)] = len(streams)
	}
	for key, t := range s.store.tables {
		if len(t.entries)+len(t.refusals) > 0 {
			count(key.url, TypeStats{Offered: len(t.entries), Refused: len(t.refusals)})
		}
	}
	return stats
}

// pushed counts a response, for the server, the client and the type.
func (st *stream) pushed(w *watch, p push) {
	bytes := uint64(0)
	for _, e := range p.set {
		bytes += uint64(len(e.Body))
	}
	c := &st.server.counters.kinds[w.rank]
	c.pushes.Add(1)
	c.bytes.Add(bytes)
	st.seen.pushes.Add(1)
	st.seen.bytes.Add(bytes)
	w.traffic.pushes++
	w.traffic.bytes += bytes
}

func (st *stream) acked(w *watch) {
	st.server.counters.kinds[w.rank].acks.Add(1)
	st.seen.acks.Add(1)
	w.traffic.acks++
}

func (st *stream) nacked(w *watch) {
	st.server.counters.kinds[w.rank].nacks.Add(1)
	st.seen.nacks.Add(1)
	w.traffic.nacks++
}
