package rollout

import (
	"testing"

	"sluice.dev/sluice/model"
)

func TestService(t *testing.T) {
	stale := func(c *model.Configuration) *model.Configuration { c.Observed--; return c }
	ours := func(r *model.RouteSpec, status model.Status, served ...model.Target) *model.RouteSpec {
		r.Served = served
		r.Conditions = []model.Condition{{Type: model.Ready, Status: status, Reason: "Why", Message: "because"}}
		if status == model.True {
			r.Conditions = []model.Condition{ready(status)}
		}
		return r
	}
	all := model.Target{Revision: "hello-00001", Latest: true, Percent: 100}
	good := ours(route(latest(100, "")), model.True, all)
	foreign := *good
	foreign.Owner = "x"
	old := *good
	old.Generation = 2
	theirs := config(1, "hello-00001")
	theirs.Owner = "x"
	const behind = "The Configuration is still working to reflect the latest desired specification."
	for name, c := range map[string]struct {
		configuration                *model.Configuration
		route                        *model.RouteSpec
		configurations, routes       model.Condition
		keepConfiguration, keepRoute bool
		ready                        model.Status
	}{
		"all is well": {config(1, "hello-00001"), good, model.Condition{Status: model.True},
			model.Condition{Status: model.True}, false, false, model.True},
		"nothing is made": {nil, nil, model.Condition{Status: model.Unknown, Reason: "OutOfDate", Message: behind},
			model.Condition{Status: model.Unknown}, false, true, model.Unknown},
		"no route is made": {config(1, "hello-00001"), nil, model.Condition{Status: model.True},
			model.Condition{Status: model.Unknown, Reason: "OutOfDate",
				Message: "The Route is still working to reflect the latest desired specification."}, false, false, model.Unknown},
		"the configuration is behind": {stale(config(2, "hello-00001")), good,
			model.Condition{Status: model.Unknown, Reason: "OutOfDate", Message: behind}, model.Condition{Status: model.True}, false, false,
			model.Unknown},
		"the configuration is behind with a chosen name": {stale(called(config(2, "hello-00001"), "hello-blue", "t")), good,
			model.Condition{Status: model.Unknown, Reason: "OutOfDate", Message: behind}, model.Condition{Status: model.Unknown}, false,
			true, model.Unknown},
		"the route is behind": {config(1, "hello-00001"), &old, model.Condition{Status: model.True},
			model.Condition{Status: model.Unknown, Reason: "OutOfDate",
				Message: "The Route is still working to reflect the latest desired specification."}, false, false, model.Unknown},
		"the route is not ready": {config(1, "hello-00001"), ours(route(latest(100, "")), model.False, all),
			model.Condition{Status: model.True}, model.Condition{Status: model.False, Reason: "Why", Message: "because"}, false, false,
			model.False},
		"the name is taken": {called(config(2, "hello-00001"), "hello-00001", "t"), good, model.Condition{Status: model.True},
			model.Condition{Status: model.False, Reason: "RevisionNameTaken",
				Message: `The revision name "hello-00001" is taken by a conflicting Revision, so traffic will not be migrated`}, false, true, model.False},
		"the configuration is somebody else's": {theirs, good,
			model.Condition{Status: model.False, Reason: "NotOwned",
				Message: `There is an existing Configuration "hello" that we do not own.`}, model.Condition{Status: model.Unknown}, true, true, model.False},
		"the route is somebody else's": {config(1, "hello-00001"), &foreign, model.Condition{Status: model.True},
			model.Condition{Status: model.False, Reason: "NotOwned", Message: `There is an existing Route "hello" that we do not own.`},
			false, true, model.False},
		"traffic has not moved to the latest": {config(2, "hello-00002"), good, model.Condition{Status: model.True},
			model.Condition{Status: model.Unknown, Reason: "TrafficNotMigrated",
				Message: "Traffic is not yet migrated to the latest revision."}, false, false, model.Unknown},
		"a target that is listed twice is served once": {config(1, "hello-00001"),
			ours(route(latest(40, ""), latest(60, "")), model.True, all), model.Condition{Status: model.True},
			model.Condition{Status: model.True}, false, false, model.True},
	} {
		t.Run(name, func(t *testing.T) {
			revisions := revs(2)
			revisions[0].Template = "u"
			plan := Service(ServiceInput{
				Service: &model.Service{Key: key("hello"), UID: "s"}, Configuration: c.configuration, Route: c.route, Revisions: revisions,
			})
			says(t, plan.Conditions, model.ConfigurationsReady, c.configurations.Status, c.configurations.Reason, c.configurations.Message)
			says(t, plan.Conditions, model.RoutesReady, c.routes.Status, c.routes.Reason, c.routes.Message)
			if got := model.FindCondition(plan.Conditions, model.Ready).Status; got != c.ready {
				t.Errorf("Ready = %s, want %s", got, c.ready)
			}
			check(t, "keep configuration, route", []bool{plan.KeepConfiguration, plan.KeepRoute}, []bool{c.keepConfiguration, c.keepRoute})
		})
	}
}

func TestServiceKeepsWhatItKnewOfItsRoute(t *testing.T) {
	before := []model.Condition{{Type: model.RoutesReady, Status: model.True}}
	c := called(config(2, "hello-00001"), "hello-blue", "t")
	c.Observed = 1
	plan := Service(ServiceInput{Service: &model.Service{Key: key("hello"), UID: "s", Conditions: before}, Configuration: c})
	says(t, plan.Conditions, model.RoutesReady, model.True, "", "")
}

func TestConcludePrefersFailures(t *testing.T) {
	for name, c := range map[string]struct {
		in   []model.Condition
		want model.Condition
	}{
		"all true": {[]model.Condition{{Type: "A", Status: model.True}}, model.Condition{Type: "Ready", Status: model.True}},
		"false over unknown": {[]model.Condition{{Type: "A", Status: model.Unknown, Reason: "U"},
			{Type: "B", Status: model.False, Reason: "F", Message: "m"}}, model.Condition{Type: "Ready", Status: model.False, Reason: "F",
			Message: "m"}},
		"info does not count": {[]model.Condition{{Type: "A", Status: model.True},
			{Type: "B", Status: model.False, Severity: model.SeverityInfo}}, model.Condition{Type: "Ready", Status: model.True}},
		"the first of a kind": {[]model.Condition{{Type: "B", Status: model.False, Reason: "2"},
			{Type: "A", Status: model.False, Reason: "1"}}, model.Condition{Type: "Ready", Status: model.False, Reason: "1"}},
		"the later of a type": {[]model.Condition{{Type: "A", Status: model.True}, {Type: "A", Status: model.False, Reason: "x"}},
			model.Condition{Type: "Ready", Status: model.False, Reason: "x"}},
		"an old Ready is gone": {[]model.Condition{{Type: "Ready", Status: model.False}, {Type: "A", Status: model.True}},
			model.Condition{Type: "Ready", Status: model.True}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, "Ready", model.FindCondition(Conclude(c.in...), model.Ready), c.want)
		})
	}
}
