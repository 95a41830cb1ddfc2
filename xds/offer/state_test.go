package offer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

const (
	eds = resource.EndpointType
	cds = resource.ClusterType
	rds = resource.RouteType
)

func TestUpdateSaysWhatChanged(t *testing.T) {
	b := newBench(t)
	b.apply([]*resource.Resource{made(eds, "a", "1"), made(eds, "b", "1")})
	b.changes("a 1", "b 1")
	b.apply([]*resource.Resource{made(eds, "a", "1"), made(eds, "b", "2")})
	b.changes("b 2") // equal versions are equal content
	b.remove(eds, "a")
	b.changes("a removed")
	b.remove(eds, "a")
	b.changes()
	b.apply([]*resource.Resource{made(eds, "b", "3")}, made(eds, "b", "2"))
	b.changes("b removed", "b 3") // a resource in both lists is set; the last change counts
	if b.Seq() != 5 || b.Count() != 1 {
		t.Errorf("state %d with %d resources, want 5 with 1", b.Seq(), b.Count())
	}
}

func TestResourceLeavesTheRolesThatItNoLongerHas(t *testing.T) {
	b := newBench(t)
	both := made(eds, "a", "1")
	both.Roles = contract.RoleGateway | contract.RoleMesh
	b.apply([]*resource.Resource{both})
	one := made(eds, "a", "2")
	one.Roles = contract.RoleMesh
	b.apply([]*resource.Resource{one})
	if e := b.Get(Key{contract.RoleGateway, eds}, "a"); e != nil {
		t.Errorf("gateways are offered version %s", e.Version)
	}
	if e := b.Get(Key{contract.RoleMesh, eds}, "a"); e == nil || e.Version != "2" {
		t.Errorf("the mesh is offered %v", e)
	}
}

func TestRoleWithoutResourcesIsForgotten(t *testing.T) {
	b := newBench(t)
	b.set(eds, "a", "1")
	b.remove(eds, "a")
	if len(b.tables) > 0 {
		t.Errorf("%d tables are left", len(b.tables))
	}
}

func TestListIsSortedAndHasNacks(t *testing.T) {
	b := newBench(t)
	b.apply([]*resource.Resource{made(rds, "r", "1"), made(eds, "b", "1"), made(eds, "a", "1"), made(cds, "c", "1")})
	b.nack(eds, "b", "1", answer{client: "one"})
	offers := b.List(contract.RoleGateway)
	Sort(offers)
	var got []string
	for _, o := range offers {
		got = append(got, o.Name+" "+o.NackedVersion+o.NackText)
	}
	if want := []string{"c ", "a ", "b 1no 1", "r "}; !cmp.Equal(got, want) {
		t.Errorf("offered are %q, want %q", got, want)
	}
	counts := b.Counts()
	want := []TypeCount{{key(cds), 1, 0}, {key(eds), 2, 1}, {key(rds), 1, 0}}
	if diff := cmp.Diff(want, counts, cmpopts.SortSlices(func(a, b TypeCount) bool { return a.Type < b.Type })); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}
