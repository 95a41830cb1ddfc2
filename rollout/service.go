package rollout

import (
	"fmt"
	"slices"

	"sluice.dev/sluice/model"
)

// ServiceInput is what the plan of a Service depends on.
type ServiceInput struct {
	Service *model.Service
	// Configuration and Route are the objects of the Service's name, nil when they do not exist.
	Configuration *model.Configuration
	Route         *model.RouteSpec
	// Revisions are those that the Configuration made, and whichever has the name that it asks for.
	Revisions []*model.Revision
}

// ServicePlan is what should become of a Service.
type ServicePlan struct {
	// KeepConfiguration and KeepRoute say that the object may not be created or changed now: another object owns it, or the revision
	// that would get the traffic is not known yet.
	KeepConfiguration, KeepRoute bool
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// Problems are the user's mistakes; Conditions say the same.
	Problems []model.Problem
}

// Service plans a Service, given the two objects that it owns. A controller calls it before it updates the Configuration, again before
// it updates the Route, and takes the conditions after both.
func Service(in ServiceInput) ServicePlan {
	var plan ServicePlan
	configurations, proceed := in.configurations()
	before := model.FindCondition(in.Service.Conditions, model.RoutesReady)
	routes := as(model.RoutesReady, before)
	if before.Status == model.True {
		routes.Reason, routes.Message = before.Reason, before.Message
	}
	if proceed {
		routes, proceed = in.routes()
	}
	plan.KeepConfiguration = in.Configuration != nil && in.Configuration.Owner != in.Service.UID
	plan.KeepRoute = !proceed
	plan.Conditions = Conclude(configurations, routes)
	for _, c := range []model.Condition{configurations, routes} {
		if c.Reason == "NotOwned" || c.Reason == "RevisionNameTaken" {
			plan.Problems = append(plan.Problems, problem("Service", in.Service.Key, c))
		}
	}
	return plan
}

// Refused returns the plan when the API server refuses what the Service owns: a sentence says why. The kind is that of the condition:
// ConfigurationsReady or RoutesReady.
func (p ServicePlan) Refused(kind, why string) ServicePlan {
	var all []model.Condition
	for _, c := range p.Conditions {
		if c.Type == kind {
			c = model.Condition{Type: kind, Status: model.False, Reason: "Refused", Message: sentence(why)}
		}
		all = append(all, c)
	}
	p.Conditions = Conclude(all...)
	return p
}

// configurations returns the condition ConfigurationsReady, and whether to go on with the Route.
func (in ServiceInput) configurations() (c model.Condition, proceed bool) {
	c = model.Condition{Type: model.ConfigurationsReady, Status: model.Unknown}
	configuration := in.Configuration
	switch {
	case configuration != nil && configuration.Owner != in.Service.UID:
		c.Status, c.Reason = model.False, "NotOwned"
		c.Message = fmt.Sprintf("There is an existing Configuration %q that we do not own.", configuration.Key.Name)
		return c, false
	case configuration == nil || configuration.Observed != configuration.Generation:
		c.Reason = "OutOfDate"
		c.Message = "The Configuration is still working to reflect the latest desired specification."
		// The revision of a chosen name must be known before it gets traffic.
		return c, configuration != nil && configuration.RevisionName == ""
	}
	return as(model.ConfigurationsReady, model.FindCondition(configuration.Conditions, model.Ready)), true
}

// routes returns the condition RoutesReady, and whether the Route may be updated.
func (in ServiceInput) routes() (c model.Condition, proceed bool) {
	c = model.Condition{Type: model.RoutesReady, Status: model.Unknown}
	route := in.Route
	switch {
	case Configure(in.Configuration, in.Revisions).NameTaken:
		c.Status, c.Reason = model.False, "RevisionNameTaken"
		c.Message = fmt.Sprintf("The revision name %q is taken by a conflicting Revision, so traffic will not be migrated",
			in.Configuration.RevisionName)
		return c, false
	case route != nil && route.Owner != in.Service.UID:
		c.Status, c.Reason = model.False, "NotOwned"
		c.Message = fmt.Sprintf("There is an existing Route %q that we do not own.", route.Key.Name)
		return c, false
	case route == nil || route.Observed != route.Generation:
		c.Reason = "OutOfDate"
		c.Message = "The Route is still working to reflect the latest desired specification."
		return c, true
	}
	c = as(model.RoutesReady, model.FindCondition(route.Conditions, model.Ready))
	if c.Status == model.True && !migrated(route, in.Configuration) {
		c.Status, c.Reason = model.Unknown, "TrafficNotMigrated"
		c.Message = "Traffic is not yet migrated to the latest revision."
	}
	return c, true
}

// migrated says whether the split in force is the one asked for, with the latest ready revision in the place of the Configuration.
// Knative compares the two lists as they are. Here entries that the status merges are merged first: otherwise a spec that lists a target
// twice would never be ready.
func migrated(route *model.RouteSpec, c *model.Configuration) bool {
	var want []model.Target
	for _, t := range route.Traffic {
		w := model.Target{Tag: t.Tag, Revision: t.Revision, Percent: t.Percent}
		if t.Revision == "" && t.Configuration == c.Key.Name {
			w.Revision, w.Latest = c.LatestReady, true
		}
		i := slices.IndexFunc(want, func(o model.Target) bool { return o.Tag == w.Tag && o.Revision == w.Revision && o.Latest == w.Latest })
		if i >= 0 {
			want[i].Percent += w.Percent
		} else {
			want = append(want, w)
		}
	}
	return slices.EqualFunc(want, route.Served, func(w, s model.Target) bool {
		return w.Tag == s.Tag && w.Revision == s.Revision && w.Percent == s.Percent
	})
}
