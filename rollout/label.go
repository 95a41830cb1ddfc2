package rollout

import (
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// Labels are the labels that a Revision must have.
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
//
// A Route names the revisions of both splits and, where it follows a Configuration, the one that was made last, which so counts as
// routed before its first request. A revision that no Route has ever named stays pending until its Configuration has made another.
func Label(routes []*model.RouteSpec, configurations []*model.Configuration, revisions []*model.Revision, now time.Time) []Labels {
	wanted := map[model.Key][]string{}
	created := map[model.Key]string{}
	made := map[model.Key]model.Key{}
	for _, r := range revisions {
		made[r.Key] = model.Key{Namespace: r.Key.Namespace, Name: r.Configuration}
	}
	for _, c := range configurations {
		created[c.Key] = lastMade(c, revisions)
	}
	for _, route := range routes {
		for _, t := range slices.Concat(route.Served, route.Traffic) {
			for _, key := range named(route, t, made, created) {
				wanted[key] = append(wanted[key], route.Key.Name)
			}
		}
	}
	var changed []Labels
	for _, r := range revisions {
		if len(wanted[r.Key]) == 0 && r.RoutingSince.IsZero() && created[made[r.Key]] == r.Key.Name {
			continue // it is new, and its Route is about to name it: keep the labels that it was created with
		}
		latest := created[made[r.Key]]
		if l, ok := relabel(r, wanted[r.Key], latest != "" && latest != r.Key.Name, now); ok {
			changed = append(changed, l)
		}
	}
	slices.SortFunc(changed, func(a, b Labels) int { return a.Revision.Key.Compare(b.Revision.Key) })
	return changed
}

// lastMade returns the name of the revision that a Configuration made last. The revision exists a moment before the status names it.
func lastMade(c *model.Configuration, revisions []*model.Revision) string {
	for _, r := range revisions {
		if made(c, r) && r.Generation >= c.Generation {
			return r.Key.Name
		}
	}
	return c.LatestCreated
}

// named returns the revisions that a target of a Route names.
func named(route *model.RouteSpec, t model.Target, made map[model.Key]model.Key, created map[model.Key]string) (keys []model.Key) {
	configuration := model.Key{Namespace: route.Key.Namespace, Name: t.Configuration}
	if t.Revision != "" {
		key := model.Key{Namespace: route.Key.Namespace, Name: t.Revision}
		keys = append(keys, key)
		configuration = made[key]
	}
	if name := created[configuration]; name != "" && (t.Latest || t.Revision == "") {
		keys = append(keys, model.Key{Namespace: route.Key.Namespace, Name: name})
	}
	return keys
}

// relabel returns the labels of a revision that these Routes name, and whether they differ from those that it has.
func relabel(r *model.Revision, routes []string, superseded bool, now time.Time) (Labels, bool) {
	slices.Sort(routes)
	l := Labels{Revision: r, Routing: model.RoutingActive, Since: r.RoutingSince, Routes: slices.Compact(routes)}
	if len(routes) == 0 {
		l.Routing = model.RoutingReserve
		if !superseded && (r.Routing == model.RoutingPending || r.Routing == "") {
			l.Routing = model.RoutingPending
		}
	}
	if l.Routing != r.Routing || l.Since.IsZero() {
		l.Since = now
	}
	same := l.Routing == r.Routing && l.Since.Equal(r.RoutingSince) && slices.Equal(l.Routes, r.Routes)
	return l, !same
}
