package rollout

import (
	"time"

	"sluice.dev/sluice/model"
)

// RouteInput is what the plan of a Route depends on.
type RouteInput struct {
	Route *model.RouteSpec
	// Configurations and Revisions are of the Route's namespace: at least those that its spec and status name; others do no harm.
	Configurations []*model.Configuration
	Revisions      []*model.Revision
	// Current are the Rules of the plan before this one, nil when it is not known (after a restart).
	Current []model.Rule
	// Programmed says that the data plane has acknowledged Current.
	Programmed bool
	Now        time.Time
	Options    Options
}

// RoutePlan is what should become of a Route.
type RoutePlan struct {
	// Rules are what the data plane serves, also while a target is bad: then the split before stays in force.
	Rules []model.Rule
	// Traffic is the same split for the status, in the order of the spec.
	Traffic []model.Target
	// URL and Address are the URLs from outside and within the cluster.
	URL, Address string
	// Rollout is the state of gradual rollouts, to be kept beside Traffic and handed back as RouteSpec.Rollout.
	Rollout string
	// Again is after what time the Route wants to be planned again, for the next step of a rollout; 0 means that nothing is due.
	Again time.Duration
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
	// Problems are the user's mistakes.
	Problems []model.Problem
}

// Route plans a Route: it resolves the targets to revisions, and to hosts.
func Route(in RouteInput) RoutePlan {
	return RoutePlan{}
}
