package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func key(name string) model.Key { return model.Key{Namespace: "default", Name: name} }

func ready(status model.Status) model.Condition {
	return model.Condition{Type: model.Ready, Status: status}
}

// rev is a revision of the Configuration hello; with True it has been ready.
func rev(name string, generation int64, status model.Status) *model.Revision {
	return &model.Revision{
		Key: key(name), Owner: "c", Service: "hello", Configuration: "hello", Generation: generation,
		Created: epoch, Ready: ready(status), WasReady: status == model.True, Protocol: model.HTTP1,
	}
}

// revs are ready revisions hello-00001 and so on.
func revs(n int) []*model.Revision {
	var out []*model.Revision
	for i := range n {
		out = append(out, rev(fmt.Sprintf("hello-%05d", i+1), int64(i+1), model.True))
	}
	return out
}

// config is the Configuration hello, observed, at a generation, with a latest ready revision.
func config(generation int64, latestReady string) *model.Configuration {
	return &model.Configuration{
		Key: key("hello"), UID: "c", Owner: "s", Service: "hello", Generation: generation, Observed: generation,
		LatestCreated: RevisionName("hello", generation), LatestReady: latestReady,
		Conditions: []model.Condition{ready(model.True)},
	}
}

// latest is a target that follows the Configuration hello, pin one that names a revision.
func latest(percent int, tag string) model.Target {
	return model.Target{Configuration: "hello", Latest: true, Percent: percent, Tag: tag}
}

func pin(revision string, percent int, tag string) model.Target {
	return model.Target{Revision: revision, Percent: percent, Tag: tag}
}

func route(traffic ...model.Target) *model.RouteSpec {
	return &model.RouteSpec{
		Key: key("hello"), UID: "r", Owner: "s", Service: "hello", Generation: 1, Observed: 1, Created: epoch, Traffic: traffic,
	}
}

func shares(pairs ...any) []model.Share {
	var out []model.Share
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, model.Share{Revision: key(pairs[i].(string)), Percent: pairs[i+1].(int)})
	}
	return out
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// says checks one condition: its status, its reason and its message.
func says(t *testing.T, conditions []model.Condition, kind string, status model.Status, why ...string) {
	t.Helper()
	reason, message := why[0], why[1]
	got := model.FindCondition(conditions, kind)
	if got.Status != status || got.Reason != reason || got.Message != message {
		t.Errorf("%s = %s %q %q,\n want %s %q %q", kind, got.Status, got.Reason, got.Message, status, reason, message)
	}
}

// Of returns the Route with this plan in its status.
func (p RoutePlan) Of(r *model.RouteSpec) *model.RouteSpec {
	planned := *r
	planned.Observed = r.Generation
	planned.Served, planned.URL, planned.Rollout, planned.Conditions = p.Traffic, p.URL, p.Rollout, p.Conditions
	return &planned
}
