package autoscaler

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// eventPolicyOf is the policy of a revision of the class Event with these annotations.
func eventPolicyOf(concurrency int, annotations ...string) model.Scaling {
	c := DefaultConfig()
	all := map[string]string{group + keyClass: Event}
	for i := 0; i < len(annotations); i += 2 {
		all[annotations[i]] = annotations[i+1]
	}
	return Policy(&c, Template{Annotations: all, Concurrency: concurrency})
}

func TestTasksMakeTheCount(t *testing.T) {
	for _, c := range []struct {
		name        string
		concurrency int
		tasks       Tasks
		want        int
	}{
		{"none", 0, Tasks{}, 0},
		{"no limit means one at a time", 0, Tasks{Waiting: 7}, 7},
		{"those that run count", 1, Tasks{Waiting: 2, Running: 3}, 5},
		{"a part of a replica is one", 4, Tasks{Waiting: 4, Running: 5}, 3},
		{"no activator reports", 1, Tasks{Unknown: true}, model.UnknownReplicas},
	} {
		p := eventPolicyOf(c.concurrency)
		if got := new(TaskCount).Propose(&p, c.tasks, time.Unix(1000, 0)); got.Replicas != c.want || got.Why == "" {
			t.Errorf("%s: %+v, want %d", c.name, got, c.want)
		}
	}
}

func TestTasksGrowAtOnceAndFallAfterTheIdleTime(t *testing.T) {
	p := eventPolicyOf(1, EventIdle, "3")
	var count TaskCount
	now := time.Unix(1000, 0)
	for _, step := range []struct {
		at    time.Duration
		tasks int
		want  int
	}{
		{0, 1, 1}, {10 * time.Millisecond, 200, 200}, {time.Second, 50, 200}, {2 * time.Second, 20, 200},
		{3999 * time.Millisecond, 0, 200}, // 200 tasks were there until the report at 1 s
		{4 * time.Second, 0, 50}, {5 * time.Second, 0, 20}, {6998 * time.Millisecond, 0, 20}, {6999 * time.Millisecond, 0, 0}, {7 * time.Second, 2, 2},
	} {
		if got := count.Propose(&p, Tasks{Running: step.tasks}, now.Add(step.at)); got.Replicas != step.want {
			t.Errorf("%v: %d tasks make %d (%s), want %d", step.at, step.tasks, got.Replicas, got.Why, step.want)
		}
	}
}

// A count that was found running is held for the idle time after the first report, whatever the activators report first.
func TestTasksOfAControlPlaneThatHasJustStarted(t *testing.T) {
	p := eventPolicyOf(1)
	var count TaskCount
	now := time.Unix(1000, 0)
	count.Resume(8, now)
	if got := count.Propose(&p, Tasks{Unknown: true}, now.Add(time.Minute)); got.Replicas != model.UnknownReplicas {
		t.Errorf("without a report: %+v", got)
	}
	if got := count.Propose(&p, Tasks{}, now.Add(time.Minute+time.Second)); got.Replicas != 8 {
		t.Errorf("after the first report: %+v, want 8", got)
	}
	if got := count.Propose(&p, Tasks{}, now.Add(time.Minute+6*time.Second)); got.Replicas != 0 {
		t.Errorf("after the idle time: %+v, want 0", got)
	}
}

// At each moment the count is at least the largest one of the idle time, and of a few changes exactly that.
func TestTaskCountIsTheLargestOfTheIdleTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		idle := time.Duration(1+r.IntN(5)) * time.Second
		p := eventPolicyOf(1)
		p.EventIdle = idle
		type seen struct {
			at, until time.Time
			count     int
		}
		var all []seen
		var count TaskCount
		now := time.Unix(1000, 0)
		for range 300 {
			now = now.Add(time.Duration(r.IntN(400)) * time.Millisecond)
			n := r.IntN(30)
			if len(all) > 0 {
				all[len(all)-1].until = now
			}
			all = append(all, seen{now, now, n})
			want := 0
			for _, s := range all {
				if now.Sub(s.until) < idle {
					want = max(want, s.count)
				}
			}
			if got := count.Propose(&p, Tasks{Waiting: n}, now).Replicas; got != want {
				t.Fatalf("%d of %v, want %d", got, all[max(0, len(all)-20):], want)
			}
			if len(count.held) > maxHeld {
				t.Fatalf("%d counts are held", len(count.held))
			}
		}
	}
}

// The count goes by Decide as any signal does: within the bounds, and the largest one wins.
func TestTasksComposeWithinTheBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name        string
		annotations []string
		other       int
		tasks, want int
	}{
		{"max-scale", []string{group + keyMaxScale, "10"}, 0, 200, 10},
		{"min-scale", []string{group + keyMinScale, "3"}, 0, 1, 3},
		{"another signal asks for more", nil, 5, 2, 5},
		{"another signal asks for less", nil, 1, 2, 2},
	} {
		p := eventPolicyOf(1, c.annotations...)
		led := LedByTasks(p)
		var count TaskCount
		o := Observation{Replicas: 1, Ready: 1, Quiet: true, Signals: []model.Proposal{
			{Signal: "schedule", Replicas: c.other}, count.Propose(&p, Tasks{Waiting: c.tasks}, now),
		}}
		d, _ := Decide(&led, Resume(Restart{Ready: 1, Active: model.True, Initialized: true}, now), &o, now)
		if d.Replicas != c.want || d.Via != model.ViaActivator {
			t.Errorf("%s: %+v, want %d by activators", c.name, d, c.want)
		}
	}
}

func TestEventAnnotationsAreChecked(t *testing.T) {
	c := DefaultConfig()
	for _, x := range []struct{ annotations, want string }{
		{"autoscaling.knative.dev/class=event.sluice.dev sluice.dev/event-idle-seconds=0.5 sluice.dev/event-max-waiting=7", ""},
		{"sluice.dev/event-idle-seconds=1", "is for the class event.sluice.dev alone"},
		{"autoscaling.knative.dev/class=event.sluice.dev sluice.dev/event-idle-seconds=-1", "want a number of seconds from 0 to 3600"},
		{"autoscaling.knative.dev/class=event.sluice.dev sluice.dev/event-max-waiting=0", "want a whole number from 1 to 1000000"},
		{"autoscaling.knative.dev/class=event.sluice.dev sluice.dev/metrics-source=envoy", "need the limit of the queue-proxy"},
		{"autoscaling.knative.dev/class=evnet.sluice.dev", "invalid value: evnet.sluice.dev: autoscaling.knative.dev/class"},
	} {
		annotations := map[string]string{}
		for _, pair := range strings.Fields(x.annotations) {
			k, v, _ := strings.Cut(pair, "=")
			annotations[k] = v
		}
		err := Validate(&c, annotations)
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: %v, want %q", x.annotations, err, x.want)
		}
	}
}

// BenchmarkTaskCount is a report of a revision whose tasks come and go.
func BenchmarkTaskCount(b *testing.B) {
	p := eventPolicyOf(1)
	var count TaskCount
	now := time.Unix(1000, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(10 * time.Millisecond)
		count.hold(i*7919%1000, p.EventIdle, now)
	}
}
