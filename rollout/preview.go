package rollout

import (
	"fmt"
	"slices"

	"sluice.dev/sluice/model"
)

// Preview are the objects of manifests, to find out what would be served without serving it.
type Preview struct {
	Configurations []*model.Configuration
	Routes         []*model.RouteSpec
	// Revisions are those of the manifests. World assumes those that Configurations would make, and others that Routes name.
	Revisions []*model.Revision
	// Mappings are served if their target is among Routes. The first one of a domain is assumed to have a claim to it.
	Mappings []*model.Mapping
	Options  Options
}

// World returns the World if every revision were ready. Its backends have no endpoints, because nothing runs.
func (p Preview) World() (*model.World, []model.Problem) {
	var problems []model.Problem
	revisions := make([]*model.Revision, 0, len(p.Revisions))
	for _, r := range p.Revisions {
		revisions = append(revisions, assumed(*r))
	}
	configurations := make([]*model.Configuration, 0, len(p.Configurations))
	for _, c := range p.Configurations {
		plan := Configure(c, revisions)
		if plan.Create != "" {
			revisions = append(revisions, assumed(model.Revision{
				Key: model.Key{Namespace: c.Key.Namespace, Name: plan.Create}, Owner: c.UID,
				Service: c.Service, Configuration: c.Key.Name, Generation: c.Generation, Protocol: c.Protocol,
			}))
			plan = Configure(c, revisions)
		}
		problems = append(problems, plan.Problems...)
		configurations = append(configurations, plan.Of(c))
	}
	for _, route := range p.Routes {
		for _, t := range route.Traffic {
			key := model.Key{Namespace: route.Key.Namespace, Name: t.Revision}
			if t.Revision == "" || find(revisions, key) != nil {
				continue
			}
			revisions = append(revisions, assumed(model.Revision{Key: key, Service: route.Service, Protocol: p.protocolOf(route)}))
			problems = append(problems, model.Problem{
				Owner: model.Ref{Kind: "Route", Key: route.Key}, Reason: "RevisionAssumed",
				Message: fmt.Sprintf("Revision %q is not among the manifests: it is assumed to exist and to be ready.", t.Revision),
			})
		}
	}
	w := &model.World{}
	for _, route := range p.Routes {
		plan := Route(RouteInput{Route: route, Configurations: configurations, Revisions: revisions, Options: p.Options})
		problems = append(problems, plan.Problems...)
		w.Routes = append(w.Routes, &model.Route{
			Key: route.Key, Owner: model.Ref{Kind: "Route", Key: route.Key}, Created: route.Created, Rules: plan.Rules,
		})
	}
	mapped, unmapped := p.mapped(w.Routes)
	w.Routes, problems = append(w.Routes, mapped...), append(problems, unmapped...)
	slices.SortFunc(w.Routes, func(a, b *model.Route) int { return a.Key.Compare(b.Key) })
	w.Backends = backends(w.Routes, revisions)
	return w, problems
}

// mapped returns the routes of the Mappings to the given Routes, without certificates, which are in Secrets.
func (p Preview) mapped(routes []*model.Route) (mapped []*model.Route, problems []model.Problem) {
	claimants := map[string]string{}
	for _, m := range p.Mappings {
		if claimants[m.Key.Name] == "" {
			claimants[m.Key.Name] = m.Key.Namespace
		}
		owner := model.Ref{Kind: "DomainMapping", Key: m.Key}
		at := slices.IndexFunc(routes, func(r *model.Route) bool { return r.Key == m.Target.Key })
		plan := Mapping(MappingInput{Mapping: m, Claimant: claimants[m.Key.Name], TargetExists: at >= 0, Options: p.Options})
		if plan.Serve {
			mapped = append(mapped, &model.Route{
				Key: m.Key, Owner: owner, Created: m.Created, Yields: true, Rules: []model.Rule{routes[at].Rules[0].Mapped(plan.Rule)},
			})
			continue
		}
		for _, c := range plan.Conditions {
			if c.Type != model.Ready && c.Status == model.False {
				problems = append(problems, model.Problem{Owner: owner, Reason: c.Reason, Message: c.Message})
			}
		}
	}
	return mapped, problems
}

// protocolOf returns the present protocol of the Route's Service, the best guess for its earlier revisions.
func (p Preview) protocolOf(route *model.RouteSpec) model.Protocol {
	for _, c := range p.Configurations {
		if c.Key == route.Key && c.Service == route.Service {
			return c.Protocol
		}
	}
	return model.HTTP1
}

// assumed returns a revision as if it were ready, of HTTP/1 when its protocol is unknown.
func assumed(r model.Revision) *model.Revision {
	r.Ready = model.Condition{Type: model.Ready, Status: model.True}
	r.WasReady = true
	if r.Protocol == "" {
		r.Protocol = model.HTTP1
	}
	return &r
}

// backends returns one backend for every revision that a rule names.
func backends(routes []*model.Route, revisions []*model.Revision) []*model.Backend {
	known := map[model.Key]*model.Revision{}
	for _, r := range revisions {
		known[r.Key] = r
	}
	var out []*model.Backend
	add := func(key model.Key) {
		if r := known[key]; r != nil {
			out = append(out, &model.Backend{
				Revision: key, Owner: model.Ref{Kind: "Revision", Key: key}, Protocol: r.Protocol, Via: model.ViaReplicas,
			})
			delete(known, key)
		}
	}
	for _, route := range routes {
		for _, rule := range route.Rules {
			for _, s := range rule.Shares {
				add(s.Revision)
			}
			for _, t := range rule.TagHeader {
				add(t.Revision)
			}
		}
	}
	slices.SortFunc(out, func(a, b *model.Backend) int { return a.Revision.Compare(b.Revision) })
	return out
}
