package rollout

import (
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

func TestLabel(t *testing.T) {
	since := epoch.Add(-time.Hour)
	state := func(r *model.Revision, s model.RoutingState, routes ...string) *model.Revision {
		r.Routing, r.RoutingSince, r.Routes = s, since, routes
		return r
	}
	one := func() *model.Revision { return rev("hello-00001", 1, model.True) }
	follow := route(latest(100, ""))
	follow.Served = []model.Target{{Revision: "hello-00001", Latest: true, Percent: 100}}
	other := route(pin("hello-00001", 100, ""))
	other.Key.Name = "a-route"
	for name, c := range map[string]struct {
		routes   []*model.RouteSpec
		revision *model.Revision
		latest   int64
		state    model.RoutingState
		since    time.Time
		names    []string
		changed  bool
	}{
		"routed for the first time": {[]*model.RouteSpec{follow}, state(one(), model.RoutingPending), 1, model.RoutingActive, epoch,
			[]string{"hello"}, true},
		"routed still": {[]*model.RouteSpec{follow}, state(one(), model.RoutingActive, "hello"), 1, "", time.Time{}, nil,
			false},
		"by one more route": {[]*model.RouteSpec{follow, other}, state(one(), model.RoutingActive, "hello"), 1,
			model.RoutingActive, since, []string{"a-route", "hello"}, true},
		"not any more": {nil, state(one(), model.RoutingActive, "hello"), 1, model.RoutingReserve, epoch, nil, true},
		"never yet":    {nil, state(one(), model.RoutingPending), 1, "", time.Time{}, nil, false},
		"again": {[]*model.RouteSpec{other}, state(one(), model.RoutingReserve), 1, model.RoutingActive, epoch,
			[]string{"a-route"}, true},
		"before it is ready": {[]*model.RouteSpec{follow}, state(rev("hello-00002", 2, model.Unknown), model.RoutingPending),
			2, model.RoutingActive, epoch, []string{"hello"}, true},
		"the newest is not a named one's": {[]*model.RouteSpec{other}, state(rev("hello-00002", 2, model.Unknown), model.RoutingPending), 2,
			"", time.Time{}, nil, false},
		"born active, without a time": {[]*model.RouteSpec{follow}, func() *model.Revision {
			r := one()
			r.Routing, r.Routes = model.RoutingActive, []string{"hello"}
			return r
		}(), 1, model.RoutingActive, epoch, []string{"hello"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			revisions := []*model.Revision{c.revision}
			if c.revision.Key.Name != "hello-00001" {
				revisions = append(revisions, state(one(), model.RoutingActive, "hello"))
				if c.routes[0] == other {
					revisions[1].Routes = []string{"a-route"}
				}
			}
			got := Label(c.routes, []*model.Configuration{config(c.latest, "hello-00001")}, revisions, epoch)
			var want []Labels
			if c.changed {
				want = []Labels{{Revision: c.revision, Routing: c.state, Since: c.since, Routes: c.names}}
			}
			check(t, "labels", got, want)
		})
	}
}
