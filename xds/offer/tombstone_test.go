package offer

import (
	"fmt"
	"testing"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// withRoute has version 1 of a route acknowledged, with its cluster, and then version 2 offered without the cluster.
func withRoute(t *testing.T) *bench {
	b := newBench(t)
	b.apply([]*resource.Resource{made(rds, "r", "1"), made(cds, "old", "1")})
	b.ack(rds, "r", "1")
	b.ack(cds, "old", "1")
	b.apply([]*resource.Resource{made(rds, "r", "2"), made(cds, "new", "1")}, made(cds, "old", ""))
	b.changes("r 1", "old 1", "r 2", "new 1", "old removed")
	return b
}

func TestClusterOfRolledBackRoutesIsRestored(t *testing.T) {
	b := withRoute(t)
	b.nack(rds, "r", "2", answer{client: "one"})
	b.changes("r 1", "old 1")
	b.set(rds, "r", "3") // which needs it no more
	b.changes("r 3", "old removed")
	b.offers(cds, "old", "")
}

func TestRemovalIsPendingWhileRolledBackRoutesMayNeedIt(t *testing.T) {
	b := newBench(t)
	b.apply([]*resource.Resource{made(rds, "r", "1"), made(cds, "old", "1")})
	b.ack(rds, "r", "1")
	b.set(rds, "r", "2")
	b.nack(rds, "r", "2", answer{client: "one"})
	b.changes("r 1", "old 1", "r 2", "r 1")
	b.remove(cds, "old")
	b.changes()
	b.offers(cds, "old", "1")
	b.ack(rds, "r", "2") // after all
	b.changes("r 2", "old removed")
}

func TestResourceThatIsSetAgainIsNotPendingRemoval(t *testing.T) {
	b := withRoute(t)
	b.nack(rds, "r", "2", answer{client: "one"})
	b.set(cds, "old", "2")
	b.set(rds, "r", "3")
	b.changes("r 1", "old 1", "old 2", "r 3")
	b.offers(cds, "old", "2")
}

func TestListenersAndScopesAreNotRestored(t *testing.T) {
	b := newBench(t)
	srds := resource.ScopedRouteType
	b.apply([]*resource.Resource{made(rds, "r", "1"), made(resource.ListenerType, "l", "1"), made(srds, "s", "1")})
	b.ack(rds, "r", "1")
	b.apply([]*resource.Resource{made(rds, "r", "2")}, made(resource.ListenerType, "l", ""), made(srds, "s", ""))
	b.changes("r 1", "l 1", "s 1", "r 2", "l removed", "s removed")
	b.nack(rds, "r", "2", answer{client: "one"})
	b.changes("r 1")
}

func TestTombstonesAreDroppedWithTheLastCandidate(t *testing.T) {
	b := withRoute(t)
	stones := func() int { return len(b.tombstones[resource.RoleIndex(contract.RoleGateway)].removed) }
	if stones() != 1 {
		t.Errorf("%d tombstones, want 1", stones())
	}
	b.ack(rds, "r", "2")
	b.set(eds, "any", "1")
	if stones() != 0 {
		t.Errorf("%d tombstones are left", stones())
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	b := withRoute(t)
	for i := range 2*maxTombstones + 1 {
		name := fmt.Sprint(i)
		b.set(cds, name, "1")
		b.remove(cds, name)
	}
	if n := len(b.tombstones[resource.RoleIndex(contract.RoleGateway)].removed); n > maxTombstones {
		t.Errorf("%d tombstones", n)
	}
}
