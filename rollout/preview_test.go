package rollout

import (
	"testing"

	"sluice.dev/sluice/model"
)

func TestPreviewAssumesThatRevisionsAreReady(t *testing.T) {
	c := config(1, "")
	c.Protocol = model.H2C
	w, problems := Preview{
		Configurations: []*model.Configuration{c},
		Routes:         []*model.RouteSpec{route(latest(30, "canary"), pin("hello-stable", 70, ""))},
	}.World()
	check(t, "shares", w.Routes[0].Rules[0].Shares, shares("hello-00001", 30, "hello-stable", 70))
	check(t, "tag", w.Routes[0].Rules[1].Shares, shares("hello-00001", 100))
	var backends []model.Key
	for _, b := range w.Backends {
		backends = append(backends, b.Revision)
		if b.Protocol != model.H2C || b.Endpoints != nil {
			t.Errorf("backend %s = %+v, want h2c without endpoints", b.Revision, b)
		}
	}
	check(t, "backends", backends, []model.Key{key("hello-00001"), key("hello-stable")})
	if len(problems) != 1 || problems[0].Reason != "RevisionAssumed" {
		t.Errorf("problems = %v, want one that names the revision that was assumed", problems)
	}
}

func TestPreviewServesMappedDomains(t *testing.T) {
	to := func(namespace, domain, target string) *model.Mapping {
		return &model.Mapping{
			Key:    model.Key{Namespace: namespace, Name: domain},
			Target: model.Ref{Kind: "Service", Key: model.Key{Namespace: namespace, Name: target}}, Group: servingGroup,
		}
	}
	r := route(latest(100, ""))
	w, problems := Preview{
		Configurations: []*model.Configuration{config(1, "")}, Routes: []*model.RouteSpec{r},
		Mappings: []*model.Mapping{
			to(r.Key.Namespace, "www.example.com", r.Key.Name), to(r.Key.Namespace, "shop.example.com", "nothing"),
			to("other", "www.example.com", r.Key.Name),
		},
	}.World()
	if len(w.Routes) != 2 {
		t.Fatalf("%d routes, want that of the Service and one that is mapped", len(w.Routes))
	}
	got := w.Routes[1]
	if got.Key.Name != "www.example.com" || got.Key.Namespace != r.Key.Namespace || !got.Yields || got.Owner.Kind != "DomainMapping" {
		t.Errorf("the route is %+v", got)
	}
	check(t, "the rule", got.Rules[0], model.Rule{Hosts: []string{"www.example.com"}, Shares: shares("hello-00001", 100)})
	var reasons []string
	for _, p := range problems {
		reasons = append(reasons, p.Owner.Key.Name+" "+p.Reason)
	}
	check(t, "problems", reasons, []string{
		"shop.example.com ResolveFailed", "www.example.com DomainAlreadyClaimed", "www.example.com ResolveFailed",
	})
}

func TestPreviewReportsWhatCannotBeServed(t *testing.T) {
	w, problems := Preview{Routes: []*model.RouteSpec{route(latest(100, ""))}}.World()
	if len(w.Routes) != 1 || w.Routes[0].Rules[0].Shares != nil {
		t.Errorf("routes = %+v, want one without shares", w.Routes)
	}
	if len(problems) != 1 || problems[0].Reason != "ConfigurationMissing" {
		t.Errorf("problems = %v, want ConfigurationMissing", problems)
	}
}
