package rollout

import (
	"time"

	"sluice.dev/sluice/model"
)

// Labels are what a Revision must be labelled with.
type Labels struct {
	Revision *model.Revision
	// Routing and Since are the state and when it began.
	Routing model.RoutingState
	Since   time.Time
	// Routes are the names of the Routes that name it, sorted.
	Routes []string
}

// Label returns the labels of those revisions of one namespace whose labels must change, in the order of their names. Routes
// are all Routes of that namespace, with the splits of their spec and status.
func Label(routes []*model.RouteSpec, configurations []*model.Configuration, revisions []*model.Revision, now time.Time) []Labels {
	return nil
}
