package world

import (
	"math/rand/v2"
	"slices"
	"testing"

	"sluice.dev/sluice/model"
)

func route(name string, revisions ...string) *model.Route {
	r := &model.Route{Key: model.Key{Namespace: "default", Name: name}, Rules: []model.Rule{{Hosts: []string{name}}}}
	for _, revision := range revisions {
		r.Rules[0].Shares = append(r.Rules[0].Shares, model.Share{
			Revision: model.Key{Namespace: "default", Name: revision}, Percent: 100 / len(revisions),
		})
	}
	return r
}

func backendNames(w *model.World) []string {
	names := []string{}
	for _, b := range w.Backends {
		names = append(names, b.Revision.Name)
	}
	return names
}

func TestWorldHoldsTheBackendsThatRoutesName(t *testing.T) {
	a := NewAssembler(model.Gateway{}, "")
	known := &model.Backend{Revision: model.Key{Namespace: "default", Name: "a"}, Endpoints: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}}
	a.setBackend(known)
	a.setBackend(&model.Backend{Revision: model.Key{Namespace: "default", Name: "unrouted"}})
	a.SetRoute(route("r", "a", "b"))
	w := a.World()
	if got := backendNames(w); !slices.Equal(got, []string{"a", "b"}) {
		t.Fatalf("backends %v, want a and b: the routed ones, b though nothing is known of it", got)
	}
	if w.Backends[0] != known {
		t.Error("an unchanged backend lost its pointer")
	}
	a.SetRoute(route("r", "b"))
	if got := backendNames(a.World()); !slices.Equal(got, []string{"b"}) {
		t.Errorf("backends %v after the route left a, want b", got)
	}
	a.RemoveRoute(model.Key{Namespace: "default", Name: "r"})
	if got := backendNames(a.World()); len(got) != 0 {
		t.Errorf("backends %v without any route", got)
	}
}

func TestRevisionThatRunsStaysWithoutARoute(t *testing.T) {
	a := NewAssembler(model.Gateway{}, "")
	key := model.Key{Namespace: "default", Name: "a"}
	a.Keep(key, true)
	a.setBackend(&model.Backend{Revision: key})
	if got := backendNames(a.World()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("backends %v, want the one that runs", got)
	}
	a.SetRoute(route("r", "a"))
	a.RemoveRoute(model.Key{Namespace: "default", Name: "r"})
	if got := backendNames(a.World()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("backends %v after its route went, want it still", got)
	}
	a.Keep(key, false)
	if got := backendNames(a.World()); len(got) != 0 {
		t.Errorf("backends %v after it ended", got)
	}
}

func TestRouteIsProgrammedWhenItsWorldIsAcknowledged(t *testing.T) {
	a := NewAssembler(model.Gateway{}, "")
	programmed := func() bool {
		_, programmed := a.Current(model.Key{Namespace: "default", Name: "r"})
		return programmed
	}
	if a.SetRoute(route("r", "a")) || programmed() {
		t.Fatal("a new route counts as known, or as programmed before any gateway had it")
	}
	first := a.World().Generation
	if fresh := a.Acknowledge(first); len(fresh) != 1 || !programmed() {
		t.Fatalf("acknowledging the World made %v programmed, want the route", fresh)
	}
	if !a.SetRoute(route("r", "a")) || !programmed() {
		t.Error("the same route again is programmed already")
	}
	if a.SetRoute(route("r", "b")) || programmed() {
		t.Error("a changed route needs a new acknowledgement")
	}
	if fresh := a.Acknowledge(first); len(fresh) != 0 || programmed() {
		t.Errorf("an old acknowledgement made %v programmed", fresh)
	}
}

// Changes one after another must lead to the World that a fresh assembler makes of the same pieces.
func TestAssemblerEndsWithTheWorldOfAFreshOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "d", "e"}
	a := NewAssembler(model.Gateway{}, "")
	have := map[string]*model.Route{}
	for range 2000 {
		name := names[random.IntN(len(names))]
		if random.IntN(3) == 0 {
			a.RemoveRoute(model.Key{Namespace: "default", Name: name})
			delete(have, name)
		} else {
			r := route(name, names[random.IntN(5)], names[random.IntN(5)])
			a.SetRoute(r)
			have[name] = r
		}
		want := NewAssembler(model.Gateway{}, "")
		for _, r := range have {
			want.SetRoute(r)
		}
		if got, want := backendNames(a.World()), backendNames(want.World()); !slices.Equal(got, want) {
			t.Fatalf("backends %v, want %v", got, want)
		}
	}
}

func TestNewCertificateIsANewWorldThatSharesTheRest(t *testing.T) {
	a := NewAssembler(model.Gateway{HTTPS: ":8443"}, "")
	a.SetRoute(route("one", "one-00001"))
	before := a.World()
	<-a.changed
	a.SetGateway(model.Gateway{HTTPS: ":8443", Certificates: []model.Certificate{{Name: "ns/renewed"}}})
	select {
	case <-a.changed:
	default:
		t.Error("the change is not signalled")
	}
	after := a.World()
	if len(after.Gateway.Certificates) != 1 || after.Routes[0] != before.Routes[0] || after.Generation <= before.Generation {
		t.Errorf("got %+v after %+v, want the certificate added and the route shared", after, before)
	}
}
