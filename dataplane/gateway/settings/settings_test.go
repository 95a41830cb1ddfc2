package settings

import (
	"slices"
	"testing"
)

func TestAFilterChainIsFoundByServerName(t *testing.T) {
	l := &Listener{
		Chains: []*FilterChain{{ServerNames: []string{"*.test"}}, {ServerNames: []string{"*.a.test"}},
			{ServerNames: []string{"x.a.test", "y.test"}}},
		Fallback: &FilterChain{},
	}
	for name, want := range map[string]int{"x.a.test": 2, "X.A.Test": 2, "z.a.test": 1, "y.test": 2, "z.test": 0, "other": 3, "": 3} {
		if got := l.Chain(name); got != want || got >= len(l.All()) {
			t.Errorf("%q gets filter chain %d, want %d", name, got, want)
		}
	}
	l.Fallback = nil
	if got := l.Chain("other"); got != -1 {
		t.Errorf("a name that no filter chain is for gets %d", got)
	}
}

func TestAVersionOfTheHostTableLeavesTheOneBeforeAsItWas(t *testing.T) {
	a, b := &VirtualHost{Name: "a"}, &VirtualHost{Name: "b"}
	edit := EditHosts(&HostTable{})
	for _, domain := range []string{"x.test", "*.test", "*.a.test", "x.*", "*"} {
		if other := edit.Set(domain, a); other != nil {
			t.Fatalf("%s belongs to %s already", domain, other.Name)
		}
	}
	before := edit.Done()
	edit = EditHosts(before)
	if other := edit.Set("x.test", b); other != a {
		t.Errorf("x.test was given away, though a has it")
	}
	edit.Remove("x.test", b) // which does not have it
	edit.Remove("x.test", a)
	edit.Remove("*", a)
	edit.Set("x.test", b)
	after := edit.Done()
	for host, want := range map[string][2]*VirtualHost{
		"x.test": {a, b}, "y.test": {a, a}, "x.org": {a, a}, "y.org": {a, nil}, ".test": {a, nil},
	} {
		if got := [2]*VirtualHost{before.Find(host), after.Find(host)}; !slices.Equal(got[:], want[:]) {
			t.Errorf("%s is found as %v, want %v", host, got, want)
		}
	}
}

func TestAClusterIsPickedByWeight(t *testing.T) {
	f := &Forward{Clusters: []WeightedCluster{{Name: "a", Weight: 70}, {Name: "b", Weight: 30}}, Total: 100}
	counts := map[string]int{}
	for n := range f.Total {
		counts[f.Pick(func(uint32) uint32 { return n }).Name]++
	}
	if counts["a"] != 70 || counts["b"] != 30 {
		t.Errorf("of 100 draws a got %d and b %d", counts["a"], counts["b"])
	}
}
