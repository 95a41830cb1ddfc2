package rollout

import (
	"cmp"
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// Retire returns the revisions of a Configuration that are to be deleted; those come first that have been without a Route the longest.
// Some always stay: revisions that a Route names or that have no labels yet, the latest ready and latest created ones, and preserved
// ones. Rules of nil are DefaultRetention.
func Retire(c *model.Configuration, revisions []*model.Revision, rules *Retention, now time.Time) []*model.Revision {
	rules = cmp.Or(rules, new(DefaultRetention()))
	var idle []*model.Revision
	for _, r := range revisions {
		if made(c, r) && r.Routing == model.RoutingReserve && !r.Preserved && r.Key.Name != c.LatestReady && r.Key.Name != c.LatestCreated {
			idle = append(idle, r)
		}
	}
	slices.SortFunc(idle, func(a, b *model.Revision) int {
		return cmp.Or(lastActive(a).Compare(lastActive(b)), a.Key.Compare(b.Key))
	})
	var retired, kept []*model.Revision
	for i, r := range idle {
		// If this one goes, those kept so far and all after it are left.
		if len(kept)+len(idle)-i > max(rules.Min, 0) && rules.stale(r, now) {
			retired = append(retired, r)
		} else {
			kept = append(kept, r)
		}
	}
	if extra := len(kept) - rules.Max; rules.Max >= 0 && extra > 0 {
		retired = append(retired, kept[:extra]...)
	}
	return retired
}

// stale says whether a revision is old enough to go. When both ages are disabled, none is.
func (r *Retention) stale(v *model.Revision, now time.Time) bool {
	if r.SinceCreated < 0 && r.SinceActive < 0 {
		return false
	}
	return (r.SinceCreated < 0 || now.Sub(v.Created) >= r.SinceCreated) &&
		(r.SinceActive < 0 || now.Sub(lastActive(v)) >= r.SinceActive)
}

func lastActive(r *model.Revision) time.Time {
	if r.RoutingSince.IsZero() {
		return r.Created
	}
	return r.RoutingSince
}
