package world

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

// mapTo is a mapping of a host with a certificate to a route.
func mapTo(target string) *Mapping {
	return &Mapping{
		Route: &model.Route{
			Key: model.Key{Namespace: "default", Name: "www.example.com"}, Yields: true,
			Rules: []model.Rule{{Hosts: []string{"www.example.com"}, HTTP: model.HTTPRedirected, Certificate: "default/www"}},
		},
		Target:      model.Key{Namespace: "default", Name: target},
		Certificate: &model.Certificate{Name: "default/www", Hosts: []string{"www.example.com"}},
	}
}

func TestMappingIsServedAsItsTargetIs(t *testing.T) {
	a := NewAssembler(model.Gateway{HTTPS: ":8443"}, "")
	m := mapTo("r")
	a.SetMapping(m)
	w := a.World()
	if len(w.Routes) != 0 || len(w.Gateway.Certificates) != 1 {
		t.Fatalf("%d routes and %d certificates, want only the certificate of a mapping whose target is not known",
			len(w.Routes), len(w.Gateway.Certificates))
	}
	target := route("r", "a", "b")
	target.Rules[0].LocalHosts, target.Rules[0].TagHeader = []string{"r.default"}, []model.TagShare{{Tag: "t"}}
	a.SetRoute(target)
	want := m.Route.Rules[0]
	want.Shares, want.TagHeader = target.Rules[0].Shares, target.Rules[0].TagHeader
	if w = a.World(); len(w.Routes) != 2 {
		t.Fatalf("%d routes, want the target and the mapping", len(w.Routes))
	}
	if diff := cmp.Diff(want, w.Routes[1].Rules[0]); diff != "" {
		t.Errorf("the rule of the mapping (-want +got):\n%s", diff)
	}
	if known, serves := a.Serves(m.Route.Key); known || serves {
		t.Error("it is served before any gateway has acknowledged a World")
	}
	a.Acknowledge(w.Generation)
	if known, serves := a.Serves(m.Route.Key); !known || !serves {
		t.Error("it is not served although every gateway has acknowledged its World")
	}
	a.SetRoute(route("r", "b"))
	if got := a.World().Routes[1].Rules[0].Shares; len(got) != 1 || got[0].Revision.Name != "b" {
		t.Errorf("its shares are %v after its target left a", got)
	}
	a.RemoveRoute(target.Key)
	if got := a.World().Routes; len(got) != 0 {
		t.Errorf("%d routes without its target", len(got))
	}
	a.SetMapping(mapTo("other"))
	a.SetRoute(target)
	if got := a.World().Routes; len(got) != 1 {
		t.Errorf("%d routes when its target is another one", len(got))
	}
	a.RemoveMapping(m.Route.Key)
	a.SetRoute(&model.Route{Key: model.Key{Namespace: "default", Name: "other"}, Rules: []model.Rule{{Hosts: []string{"other"}}}})
	if w = a.World(); len(w.Routes) != 2 || len(w.Gateway.Certificates) != 0 {
		t.Errorf("%d routes and %d certificates when the mapping is gone", len(w.Routes), len(w.Gateway.Certificates))
	}
}
