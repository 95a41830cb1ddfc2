package gateway

import (
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func TestHostIsEjectedForSomeTimeAfterFailuresInARow(t *testing.T) {
	o := compileOutlierDetection(&clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors: true, ConsecutiveLocalOriginFailure: wrapperspb.UInt32(3), BaseEjectionTime: durationpb.New(5 * time.Second),
	})
	now := time.Second
	clock := func() time.Duration { return now }
	var s standing
	s.failed(o, now)
	s.failed(o, now)
	s.answered()
	s.failed(o, now)
	s.failed(o, now)
	if s.ejected(clock) {
		t.Error("a host is ejected that has answered between its failures")
	}
	if s.failed(o, now); !s.ejected(clock) {
		t.Error("a host is not ejected after three failures in a row")
	}
	if now += 5 * time.Second; s.ejected(clock) {
		t.Error("a host is ejected for longer than it is to be")
	}
}

func TestNoHostIsEjectedUnlessTheClusterSaysSo(t *testing.T) {
	var s standing
	for range 100 {
		s.failed(compileOutlierDetection(nil), 0)
		s.failed(compileOutlierDetection(&clusterv3.OutlierDetection{}), 0)
	}
	if s.ejected(func() time.Duration { return 1 }) {
		t.Error("a host is ejected")
	}
}

// An ejected host comes last, but it comes: of a priority where all are ejected the next one is asked, and one of them where there is no other.
func TestEjectedHostsComeLast(t *testing.T) {
	a, b, c := &host{address: "a"}, &host{address: "b"}, &host{address: "c"}
	level := func(hosts ...*host) priority {
		p := priority{}
		l := locality{weight: 1, hosts: hosts, next: new(atomic.Uint32)}
		p.localities, p.total = []locality{l}, 1
		return p
	}
	out := map[*host]bool{a: true}
	avoid := func(h *host) bool { return out[h] }
	all := &assignment{priorities: []priority{level(a, b), level(c)}}
	for range 10 {
		if h := all.pick(roundRobin, nil, avoid); h != b {
			t.Fatalf("picked %s beside an ejected host", h.address)
		}
	}
	out[b] = true
	if h := all.pick(roundRobin, nil, avoid); h != c {
		t.Errorf("picked %s where all of the first priority are ejected", h.address)
	}
	out[c] = true
	if h := all.pick(roundRobin, []*host{a}, avoid); h != b {
		t.Errorf("picked %v where all are ejected and one of them was tried", h)
	}
}
