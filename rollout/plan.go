package rollout

import (
	"time"

	"sluice.dev/sluice/model"
)

// Input is everything of one Service, or of a Configuration and a Route of their own: then Service is nil.
type Input struct {
	// Service, Configuration and Route may each be nil when there is none.
	Service       *model.Service
	Configuration *model.Configuration
	Route         *model.RouteSpec
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
	// Retire are the revisions to delete, oldest first.
	Retire []*model.Revision
	// Problems are those of all three.
	Problems []model.Problem
}

// Plan plans everything of one Service at once: the Configuration first, then the Route with the Configuration as
// planned, then the Service with both.
func Plan(in Input) Output {
	return Output{}
}
