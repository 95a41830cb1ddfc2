package rollout

import (
	"fmt"
	"slices"

	"sluice.dev/sluice/model"
)

// resolver finds what targets name, in one namespace.
type resolver struct {
	route          *model.RouteSpec
	configurations map[string]*model.Configuration
	revisions      map[string]*model.Revision
}

// newResolver keeps the objects that the Route names: few of those of a namespace.
func newResolver(in RouteInput, prev *gradual) *resolver {
	r := &resolver{in.Route, map[string]*model.Configuration{}, map[string]*model.Revision{}}
	for _, t := range in.Route.Traffic {
		r.configurations[t.Configuration], r.revisions[t.Revision] = nil, nil
	}
	for _, t := range in.Route.Served {
		r.revisions[t.Revision] = nil
	}
	for _, c := range prev.Configurations {
		for _, p := range c.Revisions {
			r.revisions[p.Revision] = nil
		}
	}
	for _, c := range in.Configurations {
		if _, wanted := r.configurations[c.Key.Name]; wanted && c.Key.Namespace == in.Route.Key.Namespace {
			r.configurations[c.Key.Name] = c
			if _, known := r.revisions[c.LatestReady]; !known {
				r.revisions[c.LatestReady] = nil
			}
		}
	}
	for _, v := range in.Revisions {
		if _, wanted := r.revisions[v.Key.Name]; wanted && v.Key.Namespace == in.Route.Key.Namespace {
			r.revisions[v.Key.Name] = v
		}
	}
	return r
}

// alive says whether a revision may have requests: it exists and has been ready.
func (r *resolver) alive(revision string) bool {
	v := r.revisions[revision]
	return v != nil && (v.WasReady || v.Ready.Status == model.True)
}

// resolve returns the targets with their revisions, in the order of the spec. When one target is bad, it returns none and says why. A
// target that has failed counts more than one that is not ready yet.
func (r *resolver) resolve() (targets []model.Target, bad *model.Condition) {
	if bad := malformed(r.route.Traffic); bad != nil {
		return nil, bad
	}
	for _, t := range r.route.Traffic {
		resolved, err := r.target(t)
		if err != nil && (bad == nil || err.Status == model.False) {
			bad = err
		}
		targets = append(targets, resolved)
	}
	if bad != nil {
		return nil, bad
	}
	return targets, nil
}

// malformed returns what is wrong with a split that the API server should have refused, nil when nothing is.
func malformed(traffic []model.Target) *model.Condition {
	sum := 0
	for i, t := range traffic {
		if t.Percent < 0 || t.Percent > 100 {
			return unassigned(model.Unknown, "Unknown", "Traffic target %d has %d percent, want 0 to 100", i, t.Percent)
		}
		if t.Tag != "" && slices.ContainsFunc(traffic[:i], func(u model.Target) bool { return u.Tag == t.Tag }) {
			return unassigned(model.Unknown, "Unknown", "Multiple definitions for %q", t.Tag)
		}
		sum += t.Percent
	}
	if sum != 100 {
		return unassigned(model.Unknown, "Unknown", "Traffic targets sum to %d, want 100", sum)
	}
	return nil
}

func (r *resolver) target(t model.Target) (model.Target, *model.Condition) {
	t.URL = ""
	if t.Revision != "" {
		t.Configuration, t.Latest = "", false
		return t, r.pinned(t.Revision)
	}
	t.Latest = true
	c := r.configurations[t.Configuration]
	if c == nil {
		return t, missing("Configuration", t.Configuration)
	}
	if c.LatestReady == "" {
		if model.FindCondition(c.Conditions, model.Ready).Status == model.False {
			return t, unassigned(model.False, "RevisionMissing", "Configuration %q does not have any ready Revision.", t.Configuration)
		}
		return t, unassigned(model.Unknown, "RevisionMissing", "Configuration %q is waiting for a Revision to become ready.",
			t.Configuration)
	}
	t.Revision = c.LatestReady
	return t, r.ready(t.Revision)
}

// pinned checks a revision that a target names.
func (r *resolver) pinned(name string) *model.Condition {
	if bad := r.ready(name); bad != nil {
		return bad
	}
	if v := r.revisions[name]; r.route.Service != "" && v.Service != r.route.Service {
		return unassigned(model.False, "RevisionNotOwned", "Revision %q referenced in traffic does not belong to Service %q.",
			name, r.route.Service)
	}
	return nil
}

func (r *resolver) ready(name string) *model.Condition {
	v := r.revisions[name]
	switch {
	case v == nil:
		return missing("Revision", name)
	case v.Ready.Status == model.False:
		return unassigned(model.False, "RevisionMissing", "Revision %q failed to become ready.", name)
	case v.Ready.Status != model.True:
		return unassigned(model.Unknown, "RevisionMissing", "Revision %q is not yet ready.", name)
	}
	return nil
}

func missing(kind, name string) *model.Condition {
	return unassigned(model.False, kind+"Missing", "%s %q referenced in traffic not found.", kind, name)
}

func unassigned(status model.Status, reason, format string, args ...any) *model.Condition {
	return &model.Condition{Type: model.AllTrafficAssigned, Status: status, Reason: reason, Message: fmt.Sprintf(format, args...)}
}
