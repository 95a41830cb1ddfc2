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

func TestPreviewReportsWhatCannotBeServed(t *testing.T) {
	w, problems := Preview{Routes: []*model.RouteSpec{route(latest(100, ""))}}.World()
	if len(w.Routes) != 1 || w.Routes[0].Rules[0].Shares != nil {
		t.Errorf("routes = %+v, want one without shares", w.Routes)
	}
	if len(problems) != 1 || problems[0].Reason != "ConfigurationMissing" {
		t.Errorf("problems = %v, want ConfigurationMissing", problems)
	}
}
