package convert

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestRevisionAsAValue(t *testing.T) {
	r := RevisionOf(made(3), "hello-00003", &knative)
	r.UID, r.Generation, r.CreationTimestamp = "v", 1, metav1.NewTime(epoch)
	labels, annotations := RoutingLabels(model.RoutingReserve, epoch, nil)
	r.Labels[servingv1.RoutingStateLabel] = labels[servingv1.RoutingStateLabel].(string)
	r.Annotations[servingv1.RoutingStateModifiedAnnotation] = annotations[servingv1.RoutingStateModifiedAnnotation].(string)
	r.Annotations[servingv1.RoutesAnnotation] = "a,b"
	r.Annotations[servingv1.NoGCAnnotation] = "True"
	r.Annotations[servingv1.ProgressDeadlineAnnotation] = "90s"
	r.Status.ObservedGeneration = 1
	r.Status.Conditions = Conditions(nil,
		[]model.Condition{{Type: model.Ready, Status: model.True}, {Type: model.ContainerHealthy, Status: model.True}}, epoch)
	got := Revision(r)
	if got.Template == "" {
		t.Error("no fingerprint")
	}
	check(t, "revision", got, &model.Revision{
		Key: model.Key{Namespace: "default", Name: "hello-00003"}, UID: "v", Owner: "c", Service: "hello", Configuration: "hello",
		Generation: 3, Template: got.Template, Created: epoch, Ready: model.Condition{Type: model.Ready, Status: model.True},
		WasReady: true, Preserved: true, Routing: model.RoutingReserve, RoutingSince: epoch, Routes: []string{"a", "b"},
		Protocol: model.HTTP1, ProgressDeadline: 90 * time.Second,
		Conditions: []model.Condition{{Type: model.Ready, Status: model.True}, {Type: model.ContainerHealthy, Status: model.True}},
	})
	r.Status.ObservedGeneration = 0
	if got := Revision(r).Ready.Status; got != model.Unknown {
		t.Errorf("Ready of a status that is out of date = %s, want Unknown", got)
	}
}

func TestRevisionWasReady(t *testing.T) {
	for name, c := range map[string]struct {
		conditions []model.Condition
		want       bool
	}{
		"nothing is known": {nil, false},
		"is being deployed": {[]model.Condition{{Type: model.ResourcesAvailable, Status: model.Unknown},
			{Type: model.ContainerHealthy, Status: model.False}}, false},
		"its container fails now": {[]model.Condition{{Type: model.ResourcesAvailable, Status: model.True},
			{Type: model.ContainerHealthy, Status: model.False}}, true},
		"has no room now": {[]model.Condition{{Type: model.ResourcesAvailable, Status: model.False},
			{Type: model.ContainerHealthy, Status: model.True}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := RevisionOf(made(1), "hello-00001", &knative)
			r.Status.Conditions = Conditions(nil, c.conditions, epoch)
			if got := Revision(r).WasReady; got != c.want {
				t.Errorf("WasReady = %t, want %t", got, c.want)
			}
		})
	}
}

func TestRouteAsAValue(t *testing.T) {
	r := RouteOf(service())
	r.UID, r.Generation = "r", 2
	r.Status.ObservedGeneration, r.Status.URL = 1, "http://x"
	r.Status.Annotations = WithRollout(map[string]string{"other": "kept"}, `{"configurations":[]}`)
	served := []model.Target{{Tag: "a", Revision: "hello-00001", Latest: true, Percent: 100, URL: "http://a"}}
	r.Status.Traffic = Traffic(served)
	got := Route(r)
	check(t, "route", got, &model.RouteSpec{
		Key: model.Key{Namespace: "default", Name: "hello"}, UID: "r", Owner: "s", Service: "hello", Generation: 2, Observed: 1,
		Traffic: []model.Target{{Configuration: "hello", Latest: true, Percent: 100}, {Tag: "old", Revision: "hello-00001"}},
		Labels:  r.Labels, Annotations: r.Annotations, ClusterLocal: true, RolloutDuration: time.Minute, Served: served, URL: "http://x",
		Rollout:    `{"configurations":[]}`,
		Conditions: []model.Condition{},
	})
	check(t, "annotations without a rollout", WithRollout(r.Status.Annotations, ""), map[string]string{"other": "kept"})
}

func TestRolloutDuration(t *testing.T) {
	const name, alt = servingv1.RolloutDurationAnnotation, servingv1.RolloutDurationAltAnnotation
	for label, c := range map[string]struct {
		annotations map[string]string
		want        time.Duration
		problem     string
	}{
		"none":           {nil, 0, ""},
		"empty":          {map[string]string{name: ""}, 0, ""},
		"a minute":       {map[string]string{name: "1m"}, time.Minute, ""},
		"other spelling": {map[string]string{alt: "2m"}, 2 * time.Minute, ""},
		"the first wins": {map[string]string{alt: "2m", name: "1m"}, time.Minute, ""},
		"negative": {map[string]string{name: "-1s"}, 0,
			`annotation serving.knative.dev/rollout-duration is "-1s", want a duration of whole seconds that is not negative, such as 90s`},
		"part of a second": {map[string]string{name: "1500ms"}, 0,
			`annotation serving.knative.dev/rollout-duration is "1500ms", want a duration of whole seconds that is not negative, such as ` +
				`90s`},
		"not a duration": {map[string]string{alt: "soon"}, 0,
			`annotation serving.knative.dev/rolloutDuration is "soon", want a duration of whole seconds that is not negative, such as 90s`},
	} {
		t.Run(label, func(t *testing.T) {
			r := RouteOf(service())
			r.Annotations = c.annotations
			if got := Route(r).RolloutDuration; got != c.want {
				t.Errorf("duration = %s, want %s", got, c.want)
			}
			got := ""
			if problems := RouteProblems(r); len(problems) > 0 {
				got = problems[0].Message
			}
			check(t, "problem", got, c.problem)
		})
	}
}

func TestConditionsKeepTheirTimes(t *testing.T) {
	before := Conditions(nil, []model.Condition{
		{Type: "A", Status: model.True}, {Type: "B", Status: model.Unknown, Reason: "Old"},
		{Type: "C", Status: model.True, Severity: model.SeverityInfo},
	}, epoch)
	after := Conditions(before, []model.Condition{
		{Type: "A", Status: model.False, Reason: "Broke", Message: "it broke"}, {Type: "B", Status: model.Unknown, Reason: "New"},
		{Type: "C", Status: model.True, Severity: model.SeverityInfo}, {Type: "D", Status: model.True},
	}, epoch.Add(time.Hour))
	then, now := metav1.NewTime(epoch), metav1.NewTime(epoch.Add(time.Hour))
	check(t, "conditions", after, []servingv1.Condition{
		{Type: "A", Status: "False", Reason: "Broke", Message: "it broke", LastTransitionTime: now},
		{Type: "B", Status: "Unknown", Reason: "New", LastTransitionTime: then},
		{Type: "C", Status: "True", Severity: "Info", LastTransitionTime: then},
		{Type: "D", Status: "True", LastTransitionTime: now},
	})
}

func TestRoutingLabelsRemoveRoutes(t *testing.T) {
	labels, annotations := RoutingLabels(model.RoutingActive, epoch, []string{"a", "b"})
	check(t, "labels", labels, map[string]any{servingv1.RoutingStateLabel: "active"})
	check(t, "annotations", annotations, map[string]any{
		servingv1.RoutesAnnotation: "a,b", servingv1.RoutingStateModifiedAnnotation: "2026-11-23T12:00:00Z",
	})
	_, annotations = RoutingLabels(model.RoutingReserve, epoch, nil)
	if v, there := annotations[servingv1.RoutesAnnotation]; !there || v != nil {
		t.Errorf("routes = %v, want null, which removes it", v)
	}
}
