package rollout

import (
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// Input is everything of one Service, or of a Configuration and a Route of their own: then Service is nil.
type Input struct {
	// Service, Configuration and Route may each be nil when there is none.
	Service       *model.Service
	Configuration *model.Configuration
	Route         *model.RouteSpec
	// Configurations are others that the Route names.
	Configurations []*model.Configuration
	// Revisions are those of the Configuration, and others that the Route names.
	Revisions []*model.Revision
	// Current and Programmed are as in RouteInput.
	Current    []model.Rule
	Programmed bool
	Now        time.Time
	Options    Options
}

// Output is what should become of it.
type Output struct {
	Service       ServicePlan
	Configuration ConfigurationPlan
	Route         RoutePlan
	// Retire are the revisions to delete.
	Retire []*model.Revision
	// Problems are those of all three.
	Problems []model.Problem
}

// Plan plans everything of one Service at once: the Configuration first, then the Route with the Configuration as
// planned, then the Service with both.
func Plan(in Input) Output {
	var out Output
	configurations := in.Configurations
	if in.Configuration != nil {
		out.Configuration = Configure(in.Configuration, in.Revisions)
		planned := out.Configuration.Of(in.Configuration)
		out.Retire = Retire(planned, in.Revisions, in.Options.Retention, in.Now)
		in.Configuration = planned
		configurations = append(slices.Clone(configurations), planned)
	}
	if in.Route != nil {
		out.Route = Route(RouteInput{
			Route: in.Route, Configurations: configurations, Revisions: in.Revisions,
			Current: in.Current, Programmed: in.Programmed, Now: in.Now, Options: in.Options,
		})
		in.Route = out.Route.Of(in.Route)
	}
	if in.Service != nil {
		out.Service = Service(ServiceInput{
			Service: in.Service, Configuration: in.Configuration, Route: in.Route, Revisions: in.Revisions,
		})
	}
	out.Problems = slices.Concat(out.Service.Problems, out.Configuration.Problems, out.Route.Problems)
	return out
}

// Of returns the Configuration with this plan in its status.
func (p ConfigurationPlan) Of(c *model.Configuration) *model.Configuration {
	planned := *c
	planned.Observed = c.Generation
	planned.LatestCreated, planned.LatestReady, planned.Conditions = p.LatestCreated, p.LatestReady, p.Conditions
	return &planned
}

// Of returns the Route with this plan in its status.
func (p RoutePlan) Of(r *model.RouteSpec) *model.RouteSpec {
	planned := *r
	planned.Observed = r.Generation
	planned.Served, planned.URL, planned.Rollout, planned.Conditions = p.Traffic, p.URL, p.Rollout, p.Conditions
	return &planned
}
