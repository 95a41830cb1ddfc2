package proxy

import (
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

func TestHostIsEjectedForSomeTimeAfterFailuresInARow(t *testing.T) {
	o := settings.OutlierDetection{Failures: 3, Ejection: 5 * time.Second}
	now := time.Second
	clock := func() time.Duration { return now }
	var s outlierState
	s.failed(o, now)
	s.failed(o, now)
	s.answered()
	s.failed(o, now)
	s.failed(o, now)
	if s.ejected(clock) {
		t.Error("a host is ejected that has responded between its failures")
	}
	if s.failed(o, now); !s.ejected(clock) {
		t.Error("a host is not ejected after three failures in a row")
	}
	if now += 5 * time.Second; s.ejected(clock) {
		t.Error("a host is ejected for longer than its ejection time")
	}
}

func TestNoHostIsEjectedUnlessTheClusterSaysSo(t *testing.T) {
	var s outlierState
	for range 100 {
		s.failed(settings.OutlierDetection{}, 0)
	}
	if s.ejected(func() time.Duration { return 1 }) {
		t.Error("a host is ejected")
	}
}

// Where all hosts of a priority are ejected the next priority gets the request, and where all of all are, an ejected host does.
func TestEjectedHostsComeLast(t *testing.T) {
	a, b, c := &Host{Address: "a"}, &Host{Address: "b"}, &Host{Address: "c"}
	level := func(hosts ...*Host) priority {
		p := priority{}
		l := locality{weight: 1, hosts: hosts, next: new(atomic.Uint32)}
		p.localities, p.total = []locality{l}, 1
		return p
	}
	out := map[*Host]bool{a: true}
	avoid := func(h *Host) bool { return out[h] }
	all := &Assignment{priorities: []priority{level(a, b), level(c)}}
	for range 10 {
		if h := all.Pick(settings.RoundRobin, nil, avoid); h != b {
			t.Fatalf("picked %s beside an ejected host", h.Address)
		}
	}
	out[b] = true
	if h := all.Pick(settings.RoundRobin, nil, avoid); h != c {
		t.Errorf("picked %s where all of the first priority are ejected", h.Address)
	}
	out[c] = true
	if h := all.Pick(settings.RoundRobin, []*Host{a}, avoid); h != b {
		t.Errorf("picked %v where all are ejected and one of them was tried", h)
	}
}

func TestLeastRequestAvoidsABusyEndpoint(t *testing.T) {
	groups := &settings.Endpoints{
		Localities: []settings.Locality{{
			Zone: "z", Endpoints: []settings.Endpoint{{Address: "127.0.0.1:1", Weight: 1}, {Address: "127.0.0.1:2", Weight: 1}},
		}},
	}
	a := NewAssignment(groups, nil)
	a.endpoints[0].Active.Store(100)
	busy := 0
	for range 1000 {
		if a.Pick(settings.LeastRequest, nil, func(*Host) bool { return false }) == a.endpoints[0].Host {
			busy++
		}
	}
	if busy < 150 || busy > 350 { // both choices fall on it in a quarter of the draws
		t.Errorf("the busy endpoint got %d of 1000 requests, want about 250", busy)
	}
	if next := NewAssignment(groups, a); next.endpoints[0].Active.Load() != 100 {
		t.Error("the next assignment does not know what is active at an endpoint")
	}
}
