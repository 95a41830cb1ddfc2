package kube_test

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func newSchedule(name string, change func(*autoscalingv1alpha1.ScalingScheduleSpec)) *autoscalingv1alpha1.ScalingSchedule {
	s := &autoscalingv1alpha1.ScalingSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	s.Spec.Services = []string{"hello"}
	s.Spec.TimeZone = "Europe/Berlin"
	s.Spec.Entries = []autoscalingv1alpha1.ScheduleEntry{always("day", 3)}
	change(&s.Spec)
	return s
}

// always is an entry whose window is open at any time.
func always(name string, least int32) autoscalingv1alpha1.ScheduleEntry {
	return autoscalingv1alpha1.ScheduleEntry{Name: name, Start: "* * * * *", Duration: "48h", MinReplicas: &least}
}

func asIs(*autoscalingv1alpha1.ScalingScheduleSpec) {}

// onEachServer runs a test on the API server of one machine, and on that of a cluster.
func onEachServer(t *testing.T, test func(b *bench)) {
	t.Run("one machine", func(t *testing.T) { test(newBench(t)) })
	t.Run("cluster", func(t *testing.T) { test(newClusterBench(t, nil)) })
}

func (b *bench) schedule(name string) *autoscalingv1alpha1.ScalingSchedule {
	s := &autoscalingv1alpha1.ScalingSchedule{}
	if err := b.Get(b.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) eventuallyScaled(revision string, want int) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%s has %d replicas", revision, want), func() (bool, string) {
		n := b.scales(revision)
		return len(n) > 0 && n[len(n)-1] == want, fmt.Sprint(n)
	})
}

func TestSchedulesHoldRevisionsThatARouteNames(t *testing.T) {
	onEachServer(t, func(b *bench) {
		hello := newService("hello", "one")
		hello.Spec.Template.Metadata.Annotations = map[string]string{"autoscaling.knative.dev/window": "6s"}
		b.create(hello, newSchedule("office", asIs))
		b.eventuallyScaled("hello-00001", 3)
		b.eventually("the status", func() (bool, string) {
			s := b.schedule("office").Status
			ready := s.Condition("Ready")
			ok := ready != nil && ready.Status == "True" && s.Active == "day" && s.MinReplicas != nil && *s.MinReplicas == 3 &&
				s.MaxReplicas == nil && s.Until != "" && s.Services != nil && *s.Services == 1 && s.ObservedGeneration == 1
			return ok, fmt.Sprintf("%+v", s)
		})
		before := b.schedule("office").ResourceVersion
		b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
		b.eventuallyScaled("hello-00002", 3)
		b.eventually("no Route names the first one any more", func() (bool, string) {
			n := b.scales("hello-00001")
			return n[len(n)-1] < 3, fmt.Sprint(n)
		})
		b.change("hello", traffic(to("hello-00001", "old", 0), to("hello-00002", "", 100)))
		b.eventuallyScaled("hello-00001", 3) // a tag is a Route's name for it
		if after := b.schedule("office").ResourceVersion; after != before {
			t.Errorf("the status was written though nothing had changed")
		}
	})
}

func TestSchedulesFollowTheirServices(t *testing.T) {
	onEachServer(t, func(b *bench) {
		b.create(newSchedule("tier", func(s *autoscalingv1alpha1.ScalingScheduleSpec) {
			s.Services, s.Selector = nil, &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "web"}}
		}), newSchedule("office", func(s *autoscalingv1alpha1.ScalingScheduleSpec) { s.Entries[0].MinReplicas = new(int32(2)) }))
		b.eventually("a missing Service is said", func() (bool, string) {
			ready := b.schedule("office").Status.Condition("Ready")
			return ready != nil && ready.Status == "True" && ready.Reason == "ServiceMissing" &&
				ready.Message == "There is no Service hello in this namespace.", fmt.Sprint(ready)
		})
		b.create(newService("hello", "one"))
		b.eventuallyScaled("hello-00001", 2)
		b.change("hello", func(s *servingv1.Service) { s.Labels = map[string]string{"tier": "web"} })
		b.eventuallyScaled("hello-00001", 3)
		b.eventually("how many Services there are", func() (bool, string) {
			office, tier := b.schedule("office").Status, b.schedule("tier").Status
			return *office.Services == 1 && *tier.Services == 1 && office.Condition("Ready").Reason == "", fmt.Sprint(office, tier)
		})
		s := b.schedule("tier")
		s.Spec.Entries[0].MinReplicas = new(int32(5))
		if err := b.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		b.eventuallyScaled("hello-00001", 5)
		if err := b.Delete(t.Context(), b.schedule("tier")); err != nil {
			t.Fatal(err)
		}
		b.eventually("it is back at two", func() (bool, string) {
			n := b.scales("hello-00001")
			return n[len(n)-1] == 2, fmt.Sprint(n)
		})
	})
}

func TestScheduleOfATemplate(t *testing.T) {
	onEachServer(t, func(b *bench) {
		s := newService("hello", "one")
		s.Spec.Template.Metadata.Annotations = map[string]string{
			autoscalingv1alpha1.ScheduleAnnotation: "entries: [{name: a, start: '@hourly', duration: 2h, minReplicas: 4}]",
		}
		b.create(s)
		b.eventuallyScaled("hello-00001", 4)
		want := "asks for 4: entry a of annotation autoscaling.sluice.dev/schedule, until "
		b.eventually("why", func() (bool, string) {
			why := b.revision("hello-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]
			signals := b.revision("hello-00001").Status.Annotations[servingv1.ScaleSignalsAnnotation]
			return strings.Contains(why, want) && strings.Contains(signals, "the schedule "+want), why + signals
		})
	})
}

// What only the cron and the time zone show is a condition; the schedule is not followed, and others are.
func TestScheduleThatIsWrong(t *testing.T) {
	onEachServer(t, func(b *bench) {
		b.create(newService("hello", "one"), newSchedule("right", func(s *autoscalingv1alpha1.ScalingScheduleSpec) {
			s.Entries[0].MinReplicas = new(int32(2))
		}), newSchedule("wrong", func(s *autoscalingv1alpha1.ScalingScheduleSpec) {
			s.TimeZone, s.Entries = "Mars/Olympus", append(s.Entries, autoscalingv1alpha1.ScheduleEntry{
				Name: "late", Start: "0 25 * * *", End: "0 0 30 2 *", MinReplicas: new(int32(9))})
		}))
		b.eventuallyScaled("hello-00001", 2)
		want := `timeZone: "Mars/Olympus" is no time zone of the IANA database, such as Europe/Berlin; ` +
			`entry late: start: "0 25 * * *" is no cron (end of range (25) above maximum (23): 25); want five fields such as 0 8 * * 1-5: ` +
			`minute, hour, day of month, month, day of week; entry late: end: "0 0 30 2 *" never occurs`
		b.eventually("the condition", func() (bool, string) {
			ready := b.schedule("wrong").Status.Condition("Ready")
			return ready != nil && ready.Status == "False" && ready.Reason == "InvalidSchedule" && ready.Message == want, fmt.Sprint(ready)
		})
		s := b.schedule("wrong")
		s.Spec.TimeZone, s.Spec.Entries = "", s.Spec.Entries[:1]
		if err := b.Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		b.eventuallyScaled("hello-00001", 3)
	})
}

func TestAPIServerRefusesSchedules(t *testing.T) {
	refuses := func(t *testing.T, c client.Client) {
		entry := func(change func(*autoscalingv1alpha1.ScheduleEntry)) func(*autoscalingv1alpha1.ScalingScheduleSpec) {
			return func(s *autoscalingv1alpha1.ScalingScheduleSpec) { change(&s.Entries[0]) }
		}
		for name, x := range map[string]struct {
			change func(*autoscalingv1alpha1.ScalingScheduleSpec)
			want   string
		}{
			"neither services nor selector": {func(s *autoscalingv1alpha1.ScalingScheduleSpec) { s.Services = nil },
				"want services, selector or both"},
			"no entry": {func(s *autoscalingv1alpha1.ScalingScheduleSpec) {
				s.Entries = []autoscalingv1alpha1.ScheduleEntry{}
			}, "should have at least 1 items"},
			"1,000 entries": {func(s *autoscalingv1alpha1.ScalingScheduleSpec) {
				for i := range 1000 {
					s.Entries = append(s.Entries, always(fmt.Sprint("e", i), 1))
				}
			}, "must have at most 100 items"},
			"a name twice": {func(s *autoscalingv1alpha1.ScalingScheduleSpec) { s.Entries = append(s.Entries, s.Entries[0]) },
				"Duplicate value"},
			"a wrong name": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Name = "Office Hours" }),
				"want lower case letters, digits and dashes"},
			"no start": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Start = "" }), "spec.entries[0].start"},
			"both ends": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.End = "0 9 * * *" }),
				"want exactly one of duration and end"},
			"no end": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Duration = "" }),
				"want exactly one of duration and end"},
			"an end at the start": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Duration, e.End = "", "* * * * *" }),
				"end is the same as start"},
			"a negative duration": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Duration = "-1h" }),
				"want a duration from 1s to 8784h"},
			"a long duration": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Duration = "8785h" }),
				"want a duration from 1s to 8784h"},
			"no duration": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.Duration = "soon" }),
				"want a duration from 1s to 8784h"},
			"a negative minimum": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.MinReplicas = new(int32(-1)) }),
				"should be greater than or equal to 0"},
			"a maximum of zero": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.MaxReplicas = new(int32(0)) }),
				"should be greater than or equal to 1"},
			"a smaller maximum": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.MaxReplicas = new(int32(2)) }),
				"maxReplicas must not be less than minReplicas"},
			"no bounds": {entry(func(e *autoscalingv1alpha1.ScheduleEntry) { e.MinReplicas = nil }),
				"want minReplicas, maxReplicas or both"},
			"a long lead": {func(s *autoscalingv1alpha1.ScalingScheduleSpec) { s.Lead = "2h" }, "want a duration from 0s to 1h"},
		} {
			err := c.Create(t.Context(), newSchedule("wrong", x.change))
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: %v, want %s", name, err, x.want)
			}
		}
	}
	t.Run("one machine", func(t *testing.T) { refuses(t, newBenchWithoutAdapter(t).Client) })
	t.Run("cluster", func(t *testing.T) { refuses(t, newClusterBench(t, nil).Client) })
}

func TestEventsOfASchedule(t *testing.T) {
	b := newClusterBench(t, nil)
	b.create(newService("hello", "one"), newSchedule("office", asIs))
	b.eventuallyTold("ScalingSchedule", "office", "Normal Ready: The schedule is followed")
	b.eventuallyTold("ScalingSchedule", "office", "Normal BoundsChanged: Open: day, minReplicas 3, until 20")
	s := b.schedule("office")
	s.Spec.TimeZone = "Mars/Olympus"
	if err := b.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.eventuallyTold("ScalingSchedule", "office", "Warning InvalidSchedule: timeZone:")
	b.eventuallyTold("ScalingSchedule", "office", "Normal BoundsChanged: No window is open")
}
