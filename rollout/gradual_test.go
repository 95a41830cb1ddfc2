package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// world is a Route that is planned over and over, as a controller does.
type world struct {
	in   RouteInput
	plan RoutePlan
}

// served is a Route that follows hello and serves all of it with hello-00001.
func served(duration time.Duration, traffic ...model.Target) *world {
	w := &world{in: RouteInput{
		Route: route(traffic...), Configurations: []*model.Configuration{config(1, "hello-00001")},
		Revisions: revs(1), Now: epoch,
	}}
	w.in.Route.RolloutDuration = duration
	return w.next()
}

// next plans and writes the plan into the status.
func (w *world) next() *world {
	w.plan = Route(w.in)
	w.in.Route = w.plan.Of(w.in.Route)
	w.in.Current, w.in.Programmed = w.plan.Rules, false
	return w
}

// release makes revision n the latest ready one.
func (w *world) release(n int) *world {
	w.in.Revisions = revs(n)
	w.in.Configurations = []*model.Configuration{config(int64(n), RevisionName("hello", int64(n)))}
	return w
}

// at plans again so long after the beginning, with the data plane up to date.
func (w *world) at(since time.Duration) *world {
	w.in.Now, w.in.Programmed = epoch.Add(since), true
	return w.next()
}

// split is the default rule in one line, such as "1:99 2:1".
func (w *world) split() string { return splitLine(w.plan.Rules[0]) }

func splitLine(r model.Rule) string {
	var parts []string
	for _, s := range r.Shares {
		parts = append(parts, fmt.Sprintf("%s:%d", strings.TrimLeft(strings.TrimPrefix(s.Revision.Name, "hello-"), "0"), s.Percent))
	}
	return strings.Join(parts, " ")
}

// run follows a rollout to its end and returns each split with when it began.
func (w *world) run(t *testing.T, start time.Duration) []string {
	t.Helper()
	var out []string
	for now := start; ; now += w.plan.Again {
		w.at(now)
		out = append(out, fmt.Sprintf("%.1fs %s", now.Seconds(), w.split()))
		if w.plan.Again == 0 {
			return out
		}
		if len(out) > 500 {
			t.Fatalf("the rollout does not end: %v", out[len(out)-3:])
		}
	}
}

// The runs that Knative's own code does, from the specification.
func TestRolloutFollowsTheReferenceRuns(t *testing.T) {
	for name, c := range map[string]struct {
		duration, observed time.Duration
		percent            int
		first, second, end string
		splits             int
	}{
		"60 s, taken up in 2 s": {60 * time.Second, 2 * time.Second, 100, "2.0s 1:99 2:1", "4.0s 1:96 2:4", "68.0s 2:100", 34},
		"240 s, taken up in 5 s": {240 * time.Second, 5 * time.Second, 100, "5.0s 1:99 2:1", "10.0s 1:97 2:3", "255.0s 2:100",
			51},
		"10 s, taken up in 0.3 s": {10 * time.Second, 300 * time.Millisecond, 100, "0.3s 1:99 2:1", "1.3s 1:88 2:12",
			"9.3s 2:100", 10},
		"half of 60 s, taken up after 90 s": {60 * time.Second, 90 * time.Second, 50, "90.0s 1:99 2:1", "91.0s 1:50 2:50",
			"91.0s 1:50 2:50", 2},
	} {
		t.Run(name, func(t *testing.T) {
			traffic := []model.Target{latest(c.percent, "")}
			if c.percent < 100 {
				traffic = append(traffic, pin("hello-00001", 100-c.percent, ""))
			}
			w := served(c.duration, traffic...).release(2)
			w.next()
			if got := w.split(); got != "1:99 2:1" || w.plan.Again != 0 {
				t.Fatalf("a new revision begins with %q, again in %s, want 1 percent until the data plane has taken it up",
					got, w.plan.Again)
			}
			run := w.run(t, c.observed)
			// Steps of 5 s are 235/47 s to the nanosecond: rounded here.
			check(t, "first, second, last", []string{run[0], run[1], run[len(run)-1]}, []string{c.first, c.second, c.end})
			if len(run) != c.splits {
				t.Errorf("%d splits, want %d: %v", len(run), c.splits, run)
			}
			if strings.Contains(w.plan.Rollout, "starttime") {
				t.Errorf("the state still has times when all is done: %s", w.plan.Rollout)
			}
		})
	}
}

func TestRolloutIsInProgressUntilItEnds(t *testing.T) {
	w := served(time.Minute, latest(100, "")).release(2).next()
	says(t, w.plan.Conditions, model.IngressReady, model.Unknown, "RolloutInProgress",
		"A gradual rollout of the latest revision(s) is in progress.")
	says(t, w.plan.Conditions, model.Ready, model.Unknown, "RolloutInProgress",
		"A gradual rollout of the latest revision(s) is in progress.")
	check(t, "status.traffic", w.plan.Traffic, []model.Target{
		{Revision: "hello-00001", Latest: true, Percent: 99}, {Revision: "hello-00002", Latest: true, Percent: 1},
	})
	w.run(t, 2*time.Second)
	w.at(70 * time.Second)
	says(t, w.plan.Conditions, model.IngressReady, model.True, "", "")
}

func TestRolloutJumps(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []model.Target
		duration      time.Duration
		want          string
	}{
		"without a duration":             {[]model.Target{latest(100, "")}, []model.Target{latest(100, "")}, 0, "2:100"},
		"with a duration under a second": {[]model.Target{latest(100, "")}, []model.Target{latest(100, "")}, time.Millisecond, "2:100"},
		"at 1 percent": {[]model.Target{latest(1, ""), pin("hello-00001", 99, "")},
			[]model.Target{latest(1, ""), pin("hello-00001", 99, "")}, time.Minute, "1:99 2:1"},
		"when nothing was followed before": {[]model.Target{pin("hello-00001", 100, "")}, []model.Target{latest(100, "")}, time.Minute,
			"2:100"},
		"to a revision by name": {[]model.Target{latest(100, "")}, []model.Target{pin("hello-00002", 100, "")}, time.Minute,
			"2:100"},
	} {
		t.Run(name, func(t *testing.T) {
			w := served(c.duration, c.before...).release(2)
			w.in.Route.Traffic = c.after
			if got := w.next().split(); got != c.want {
				t.Errorf("split = %s, want %s", got, c.want)
			}
			if w.plan.Again != 0 {
				t.Errorf("wants to be planned again in %s, want never", w.plan.Again)
			}
		})
	}
}

func TestThirdRevisionJoinsARollout(t *testing.T) {
	w := served(time.Minute, latest(100, "")).release(2).next()
	w.at(2 * time.Second).at(4 * time.Second)
	if got := w.split(); got != "1:96 2:4" {
		t.Fatalf("split = %s, want 1:96 2:4", got)
	}
	w.release(3)
	if got := w.at(5 * time.Second).split(); got != "1:96 2:3 3:1" {
		t.Errorf("split = %s, want the third to take its percent from the second", got)
	}
	run := w.run(t, 6*time.Second)
	// 53 s in steps of 1 s: 2 percent each, the second revision first.
	check(t, "steps", run[:4], []string{"6.0s 1:96 2:3 3:1", "7.0s 1:96 2:1 3:3", "8.0s 1:95 3:5", "9.0s 1:93 3:7"})
	if got := w.split(); got != "3:100" {
		t.Errorf("in the end %s, want 3:100", got)
	}
}

func TestPercentChangesDuringARollout(t *testing.T) {
	for name, c := range map[string]struct {
		percent int
		want    string
	}{
		"more goes to the newest":          {100, "1:57 2:43"},
		"less comes from the oldest":       {30, "1:97 2:3"},
		"much less ends the rollout":       {3, "1:97 2:3"},
		"to nothing leaves the rest alone": {0, "1:100"},
	} {
		t.Run(name, func(t *testing.T) {
			w := served(time.Minute, latest(60, ""), pin("hello-00001", 40, "")).release(2).next()
			w.at(2 * time.Second).at(4 * time.Second)
			if got := w.split(); got != "1:97 2:3" {
				t.Fatalf("split = %s, want 1:97 2:3", got)
			}
			w.in.Route.Traffic = []model.Target{latest(c.percent, ""), pin("hello-00001", 100-c.percent, "")}
			w.in.Now = epoch.Add(4500 * time.Millisecond)
			if got := w.next().split(); got != c.want {
				t.Errorf("split = %s, want %s", got, c.want)
			}
		})
	}
}

func TestRevisionThatComesBackKeepsItsShare(t *testing.T) {
	w := served(time.Minute, latest(100, "")).release(2).next().at(2 * time.Second).at(4 * time.Second)
	w.in.Configurations[0].LatestReady = "hello-00001" // named by the user again
	if got := w.at(5 * time.Second).split(); got != "1:96 2:4" {
		t.Errorf("split = %s, want 1:96 2:4", got)
	}
	w.run(t, 6*time.Second)
	if got := w.split(); got != "1:100" {
		t.Errorf("in the end %s, want 1:100", got)
	}
}

func TestDeletedRevisionLeavesARollout(t *testing.T) {
	w := served(time.Minute, latest(100, "")).release(2).next().at(2 * time.Second)
	w.in.Revisions = w.in.Revisions[1:]
	if got := w.at(3 * time.Second).split(); got != "2:100" {
		t.Errorf("split = %s, want 2:100", got)
	}
	if w.plan.Again != 0 {
		t.Errorf("wants to be planned again in %s, want never", w.plan.Again)
	}
}

func TestCorruptRolloutStateIsDiscarded(t *testing.T) {
	for name, state := range map[string]string{
		"not JSON":              `{`,
		"another shape":         `{"configurations":"x"}`,
		"null":                  `{"configurations":[null]}`,
		"sum is not percent":    `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":99}],"stepParams":{}}]}`,
		"percent over 100":      `{"configurations":[{"configurationName":"hello","percent":101,"revisions":[{"revisionName":"hello-00001","percent":101}],"stepParams":{}}]}`,
		"negative percent":      `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":-1},{"revisionName":"hello-00002","percent":101}],"stepParams":{}}]}`,
		"negative step":         `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":100}],"stepParams":{"stepSize":-1}}]}`,
		"step over the percent": `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":100}],"stepParams":{"stepDuration":1,"stepSize":101}}]}`,
		"twice the same":        `{"configurations":[{"configurationName":"hello","percent":0},{"configurationName":"hello","percent":0}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := served(time.Minute, latest(100, "")).release(2)
			w.in.Route.Rollout = state
			if got := w.next().split(); got != "2:100" {
				t.Errorf("split = %s, want 2:100", got)
			}
		})
	}
}

func TestRolloutWithoutAStartBeginsNow(t *testing.T) {
	w := served(time.Minute, latest(100, "")).release(2)
	w.in.Route.Rollout = `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":99},{"revisionName":"hello-00002","percent":1}],"stepParams":{}}]}`
	if run := w.run(t, 0); len(run) < 50 {
		t.Errorf("it ends in %d steps, want one a second: %v", len(run), run)
	}
}

func TestRolloutFromTheFutureGoesOnWithinItsDuration(t *testing.T) {
	w := served(time.Minute, latest(100, "")).release(2)
	w.in.Route.Rollout = `{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":99},{"revisionName":"hello-00002","percent":1}],` +
		`"stepParams":{"starttime":4000000000000000000,"nextStepTime":4000000000000000000,"stepDuration":86400000000000,"stepSize":3}}]}`
	w.at(0)
	check(t, "again", w.plan.Again, time.Minute)
}

func TestRolloutStateIsKnatives(t *testing.T) {
	w := served(time.Minute, latest(100, "canary")).release(2).next().at(2 * time.Second)
	want := `{"configurations":[` +
		`{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":99},{"revisionName":"hello-00002","percent":1}],` +
		`"stepParams":{"starttime":1795435200000000000,"nextStepTime":1795435204000000000,"stepDuration":2000000000,"stepSize":3}},` +
		`{"configurationName":"hello","tag":"canary","percent":100,"revisions":[{"revisionName":"hello-00001","percent":99},{"revisionName":"hello-00002","percent":1}],` +
		`"stepParams":{"starttime":1795435200000000000,"nextStepTime":1795435204000000000,"stepDuration":2000000000,"stepSize":3}}]}`
	check(t, "state", w.plan.Rollout, want)
}

// A clock that was set back, and a state from the future, must not hold a rollout up.
func TestRolloutEndsWhateverTheClockDoes(t *testing.T) {
	for seed := range uint64(100) {
		next := random(seed + 1)
		w := served(time.Duration(1+next(100))*time.Second, latest(2+next(99), ""))
		w.in.Route.Traffic = append(w.in.Route.Traffic, pin("hello-00001", 100-w.in.Route.Traffic[0].Percent, "old"))
		newest := 1
		now := time.Duration(0)
		for range 30 {
			switch next(4) {
			case 0:
				newest++
				w.release(newest)
			case 1:
				now -= time.Duration(next(100)) * time.Second
			default:
				now += time.Duration(next(20_000)) * time.Millisecond
			}
			w.at(now)
			wellFormed(t, w.in, w.plan)
		}
		w.run(t, now)
		if want := RevisionName("hello", int64(newest)); newest > 1 &&
			w.plan.Rules[0].Shares[len(w.plan.Rules[0].Shares)-1].Revision.Name != want {
			t.Fatalf("seed %d: in the end %s, want %s", seed, w.split(), want)
		}
	}
}

// A tag's rollout moves all of the tag's requests, and so may take longer than the Route's own.
func TestTagRollsOutOnItsOwn(t *testing.T) {
	w := served(time.Minute, latest(0, "next"), pin("hello-00001", 100, "")).release(2).next()
	check(t, "tag's split", splitLine(w.plan.Rules[1]), "1:99 2:1")
	check(t, "status.traffic", w.plan.Traffic, []model.Target{
		{Tag: "next", Revision: "hello-00001", Latest: true, URL: "http://next-hello.default.localhost"},
		{Tag: "next", Revision: "hello-00002", Latest: true, URL: "http://next-hello.default.localhost"},
		{Revision: "hello-00001", Percent: 100},
	})
	w.run(t, 2*time.Second)
	check(t, "tag's split", splitLine(w.plan.Rules[1]), "2:100")
}
