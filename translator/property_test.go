package translator_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

func endpoint(n int) model.Endpoint {
	return model.Endpoint{Host: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255), Port: 8012}
}

func randomBackend(r *rand.Rand, key model.Key) *model.Backend {
	b := &model.Backend{Revision: key, Owner: model.Ref{Kind: "Revision", Key: key}, Protocol: model.HTTP1, Via: model.ViaReplicas}
	if r.IntN(4) == 0 {
		b.Protocol = model.H2C
	}
	if r.IntN(3) == 0 {
		b.Via = model.ViaActivator
		b.Activators = r.IntN(5)
	}
	if r.IntN(3) == 0 {
		b.Concurrency, b.Timeout, b.Direct = 1+r.IntN(10), time.Duration(1+r.IntN(3))*time.Minute, r.IntN(2) == 0
	}
	if r.IntN(8) == 0 {
		b.Failure = &model.Failure{Reason: "ExitCode1", Message: "boom \xff"}
	}
	for range r.IntN(4) {
		b.Endpoints = append(b.Endpoints, endpoint(r.IntN(1000)))
	}
	return b
}

// randomRoute claims hosts and names revisions out of few, so that conflicts and gaps are common.
func randomRoute(r *rand.Rand, key model.Key) *model.Route {
	revision := func() model.Key { return model.Key{Namespace: key.Namespace, Name: fmt.Sprintf("r%d", r.IntN(12))} }
	route := &model.Route{Key: key, Owner: model.Ref{Kind: "Route", Key: key}, Created: time.Unix(int64(r.IntN(3)), 0)}
	for _, tag := range []string{"", "a", "b"}[:1+r.IntN(3)] {
		rule := model.Rule{Tag: tag}
		for range r.IntN(3) {
			rule.Hosts = append(rule.Hosts, fmt.Sprintf("h%d.example.com", r.IntN(20)))
			rule.LocalHosts = append(rule.LocalHosts, fmt.Sprintf("h%d.%s", r.IntN(20), key.Namespace))
		}
		for left := 100; left > 0 && r.IntN(5) > 0; {
			s := model.Share{Revision: revision(), Percent: min(left, 1+r.IntN(100))}
			rule.Shares = append(rule.Shares, s)
			left -= s.Percent
		}
		if tag == "" && r.IntN(2) == 0 {
			rule.TagHeader = []model.TagShare{{Tag: "x", Revision: revision()}, {Tag: "y", Revision: revision()}}
		}
		route.Rules = append(route.Rules, rule)
	}
	return route
}

// change returns a World that shares with w what it does not change.
func change(r *rand.Rand, w *model.World) *model.World {
	next := *w
	key := model.Key{Namespace: fmt.Sprintf("n%d", r.IntN(2)), Name: fmt.Sprintf("r%d", r.IntN(12))}
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		next.Routes = put(w.Routes, key, randomRoute(r, key), func(r *model.Route) model.Key { return r.Key })
	case 4:
		next.Routes = put(w.Routes, key, nil, func(r *model.Route) model.Key { return r.Key })
	case 5, 6, 7:
		next.Backends = put(w.Backends, key, randomBackend(r, key), func(b *model.Backend) model.Key { return b.Revision })
	case 8:
		next.Backends = put(w.Backends, key, nil, func(b *model.Backend) model.Key { return b.Revision })
	case 9:
		next.Activators = nil
		for i := range r.IntN(5) {
			next.Activators = append(next.Activators, endpoint(2000+i))
		}
		next.Gateway = model.Gateway{HTTP: []string{"", ":8080"}[r.IntN(2)], Local: []string{"", ":8081", ":8080"}[r.IntN(3)],
			Routes: []model.RouteForm{"", model.Scoped}[r.IntN(2)]}
	}
	return &next
}

func put[T any](in []*T, key model.Key, what *T, keyOf func(*T) model.Key) []*T {
	out := slices.DeleteFunc(slices.Clone(in), func(t *T) bool { return keyOf(t) == key })
	if what != nil {
		out = append(out, what)
	}
	slices.SortFunc(out, func(a, b *T) int { return keyOf(a).Compare(keyOf(b)) })
	return out
}

// permuted is w in another order, wherever order means nothing.
func permuted(r *rand.Rand, w *model.World) *model.World {
	next := *w
	next.Routes, next.Backends, next.Activators = shuffled(r, w.Routes), shuffled(r, w.Backends), shuffled(r, w.Activators)
	for i, route := range next.Routes {
		c := *route
		c.Rules = shuffled(r, c.Rules)
		for j := range c.Rules {
			rule := &c.Rules[j]
			rule.Hosts, rule.LocalHosts = shuffled(r, rule.Hosts), shuffled(r, rule.LocalHosts)
			rule.Shares, rule.TagHeader = shuffled(r, rule.Shares), shuffled(r, rule.TagHeader)
		}
		next.Routes[i] = &c
	}
	for i, b := range next.Backends {
		c := *b
		c.Endpoints = shuffled(r, c.Endpoints)
		next.Backends[i] = &c
	}
	return &next
}

func shuffled[T any](r *rand.Rand, in []T) []T {
	out := slices.Clone(in)
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// exported compares what others can see of an Output.
var exported = cmp.Options{cmpopts.IgnoreUnexported(translator.Output{}, translator.Unit{}), cmpopts.EquateEmpty()}

// equal compares that fast: cmp is slow on bytes.
func equal(a, b *translator.Output) bool {
	sameResource := func(a, b *translator.Resource) bool {
		return a.Type == b.Type && a.Name == b.Name && a.Version == b.Version && a.Roles == b.Roles && bytes.Equal(a.Body, b.Body)
	}
	return slices.Equal(a.Problems, b.Problems) && slices.EqualFunc(a.Units, b.Units, func(a, b *translator.Unit) bool {
		return a.Key == b.Key && slices.EqualFunc(a.Resources, b.Resources, sameResource)
	})
}

func requireSame(t *testing.T, want, got *translator.Output, what string) {
	t.Helper()
	if equal(want, got) {
		return
	}
	t.Fatalf("%s (-want +got):\n%s", what, cmp.Diff(want, got, exported))
}

func TestTheOrderOfInputMeansNothing(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &model.World{}
		for range 60 {
			w = change(r, w)
		}
		want := translator.Translate(w, nil)
		requireSame(t, want, translator.Translate(permuted(r, w), nil), "a permuted World has another Output")
		requireSame(t, want, translator.Translate(permuted(r, w), want), "a permuted World has another Output with prev")
	}
}

func TestPrevOnlySavesWork(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 2))
		w := &model.World{}
		prev := translator.Translate(w, nil)
		for step := range 60 {
			for range 1 + r.IntN(3) {
				w = change(r, w)
			}
			fresh := translator.Translate(w, nil)
			requireSame(t, fresh, translator.Translate(w, prev), fmt.Sprintf("seed %d, step %d", seed, step))
			requireSame(t, fresh, translator.Translate(w, prev), fmt.Sprintf("seed %d, step %d, again from the same prev", seed, step))
			prev = translator.Translate(w, prev)
		}
	}
}

type identity struct {
	typ, name string
	roles     uint8
}

func contents(t *testing.T, o *translator.Output) map[identity]*translator.Resource {
	t.Helper()
	all := map[identity]*translator.Resource{}
	for _, u := range o.Units {
		for _, r := range u.Resources {
			id := identity{r.Type, r.Name, r.Roles}
			if all[id] != nil {
				t.Fatalf("%v comes twice", id)
			}
			all[id] = r
		}
	}
	return all
}

func TestDiffsAddUpToTheOutput(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := &model.World{}
		var prev *translator.Output
		state := map[identity]*translator.Resource{}
		for step := range 60 {
			next := translator.Translate(w, prev)
			set, removed := translator.Diff(prev, next)
			for _, r := range set {
				state[identity{r.Type, r.Name, r.Roles}] = r
			}
			for _, r := range removed {
				id := identity{r.Type, r.Name, r.Roles}
				if state[id] == nil {
					t.Fatalf("seed %d, step %d: %v is removed but was never set", seed, step, id)
				}
				delete(state, id)
			}
			sameResource := func(a, b *translator.Resource) bool { return a.Version == b.Version && bytes.Equal(a.Body, b.Body) }
			if !maps.EqualFunc(contents(t, next), state, sameResource) {
				t.Fatalf("seed %d, step %d: the Diffs add up to something else than the Output", seed, step)
			}
			prev, w = next, change(r, w)
		}
	}
}

func TestWhatDidNotChangeIsNotInTheDiff(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 4))
		w := &model.World{}
		prev := translator.Translate(w, nil)
		for range 60 {
			w = change(r, w)
			next := translator.Translate(w, prev)
			before := contents(t, prev)
			set, _ := translator.Diff(prev, next)
			for _, r := range set {
				if old := before[identity{r.Type, r.Name, r.Roles}]; old != nil && bytes.Equal(old.Body, r.Body) {
					t.Fatalf("seed %d: %s %q is set though it did not change", seed, r.Type, r.Name)
				}
			}
			prev = next
		}
	}
}

// TestBodiesAreCanonical opens every resource: it is what it says, valid, and encoded as the proto package would,
// although parts of it were concatenated.
func TestBodiesAreCanonical(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 5))
		w := &model.World{}
		for range 60 {
			w = change(r, w)
		}
		checkBodies(t, translator.Translate(w, nil))
	}
}

func checkBodies(t *testing.T, o *translator.Output) {
	t.Helper()
	for id, r := range contents(t, o) {
		m, err := (&anypb.Any{TypeUrl: r.Type, Value: r.Body}).UnmarshalNew()
		if err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		if err := m.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil || !bytes.Equal(canonical, r.Body) {
			t.Fatalf("%v is not encoded canonically (%v)", id, err)
		}
		name := ""
		switch m := m.(type) {
		case interface{ GetName() string }:
			name = m.GetName()
		case interface{ GetClusterName() string }:
			name = m.GetClusterName()
		}
		if name != r.Name {
			t.Fatalf("%v calls itself %q", id, name)
		}
	}
}

func TestUnchangedOwnersKeepTheirUnits(t *testing.T) {
	w := world(10)
	before := translator.Translate(w, nil)
	units := map[string]*translator.Unit{}
	for _, u := range before.Units {
		units[u.Key] = u
	}
	after := translator.Translate(withEndpoint(w, 3, 77), before)
	for _, u := range after.Units {
		if changed := u.Key == "backend default/s3-00001"; (units[u.Key] != u) != changed {
			t.Errorf("unit %q: new %v, want %v", u.Key, units[u.Key] != u, changed)
		}
	}
	set, removed := translator.Diff(before, after)
	if len(set) != 2 || set[0].Type != translator.AssignmentType || set[1].Type != translator.AssignmentType || len(removed) != 0 {
		t.Errorf("a new endpoint sets %d resources and removes %d, want the two assignments alone", len(set), len(removed))
	}
	if before.Units[3].Resources[0] != after.Units[3].Resources[0] {
		t.Error("the cluster is another resource, though only an endpoint changed")
	}
}

func TestNilAndOddWorldsAreTranslated(t *testing.T) {
	route := &model.Route{Key: model.Key{Namespace: "a", Name: "b"}}
	for name, w := range map[string]*model.World{
		"nil":        nil,
		"nil inside": {Routes: []*model.Route{nil, route, nil}, Backends: []*model.Backend{nil}},
		"twice":      {Routes: []*model.Route{route, route}},
	} {
		if out := translator.Translate(w, nil); len(out.Units) == 0 {
			t.Errorf("%s: no units, want at least the gateway's", name)
		}
	}
}
