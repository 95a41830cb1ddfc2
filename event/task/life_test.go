package task_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/event/task"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func waiting() task.Task {
	return task.Task{
		ID: "1", Revision: "default/hello-1", Accepted: start, Due: start, State: task.Waiting,
		Retry:    task.Retry{Tries: 3, First: time.Second, Most: 10 * time.Second},
		Callback: "https://example.com/done", DeadLetter: "https://example.com/dead",
	}
}

// run begins a try and ends it.
func run(t *testing.T, k *task.Task, at time.Time, o task.Outcome) {
	t.Helper()
	if err := k.Begin(at, task.Lease{Owner: "a", Until: at.Add(time.Minute)}); err != nil {
		t.Fatalf("beginning at %v: %v", at, err)
	}
	if k.State != task.Running {
		t.Fatalf("after its beginning the task is %s: %s", k.State, k.Why)
	}
	o.Now, o.Owner = at, "a"
	if err := k.Finish(o); err != nil {
		t.Fatalf("finishing at %v: %v", at, err)
	}
}

func answer(status int) task.Outcome {
	return task.Outcome{Result: &task.Result{Status: status}, Random: 0.5}
}

func TestAnAnswerEndsOrRetries(t *testing.T) {
	for _, test := range []struct {
		name       string
		outcome    task.Outcome
		state      task.State
		tried      int
		deliveries int
	}{
		{"200 is done", answer(200), task.Done, 1, 1},
		{"302 is done", answer(302), task.Done, 1, 1},
		{"404 fails at once", answer(404), task.Failed, 1, 2},
		{"501 fails at once", answer(501), task.Failed, 1, 2},
		{"500 is retried", answer(500), task.Waiting, 1, 0},
		{"429 is retried", answer(429), task.Waiting, 1, 0},
		{"no answer is retried", task.Outcome{Why: "the replica is gone"}, task.Waiting, 1, 0},
		{"what reached no replica is not counted", task.Outcome{Why: "the queue is full", Unsent: true}, task.Waiting, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := waiting()
			run(t, &k, start, test.outcome)
			if k.State != test.state || k.Tried != test.tried || len(k.Deliveries) != test.deliveries {
				t.Errorf("the task is %+v", k)
			}
			if k.State.Open() == !k.Ended.IsZero() {
				t.Errorf("a task that is %s ended at %v", k.State, k.Ended)
			}
		})
	}
}

func TestTheTriesAreBounded(t *testing.T) {
	k, at := waiting(), start
	for range 3 {
		run(t, &k, at, answer(503))
		at = k.Due
	}
	if k.State != task.Failed || k.Tried != 3 || k.Why != "the last of 3 tries failed: the answer was 503" {
		t.Errorf("after 3 tries the task is %+v", k)
	}
	if err := k.Begin(at.Add(time.Hour), task.Lease{}); !errors.Is(err, task.ErrNotDue) {
		t.Errorf("a fourth try: %v", err)
	}
}

func TestAnInterruptedTryCounts(t *testing.T) {
	k, at := waiting(), start
	for range 3 {
		if err := k.Begin(at, task.Lease{Owner: "a", Until: at.Add(time.Second)}); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
	}
	if err := k.Begin(at, task.Lease{Owner: "b"}); err != nil || k.State != task.Failed || len(k.Tries) != 3 {
		t.Errorf("after 3 interrupted tries the task is %+v, %v", k, err)
	}
	if err := k.Finish(task.Outcome{Owner: "a"}); !errors.Is(err, task.ErrNotLeased) {
		t.Errorf("the end of a try that was taken away: %v", err)
	}
}

func TestADeadlineEndsTheTries(t *testing.T) {
	k := waiting()
	k.Deadline = start.Add(600 * time.Millisecond)
	run(t, &k, start, answer(503))
	if k.State != task.Failed {
		t.Errorf("the next try would be after the deadline, and the task is %s", k.State)
	}
	k = waiting()
	k.Deadline = start.Add(time.Second)
	if err := k.Begin(start.Add(time.Second), task.Lease{}); err != nil || k.State != task.Failed || k.Tried != 0 {
		t.Errorf("after its deadline the task is %+v, %v", k, err)
	}
}

func TestBackoffGrowsAndIsSpread(t *testing.T) {
	r := task.Retry{Tries: 20, First: time.Second, Most: 10 * time.Second}
	for i, longest := range []time.Duration{1, 2, 4, 8, 10, 10} {
		longest *= time.Second
		least, most := r.Backoff(i+1, 0), r.Backoff(i+1, 0.999999)
		if least != longest/2 || most < longest*99/100 || most > longest {
			t.Errorf("after %d tries the wait is %v to %v, want half of %v to all of it", i+1, least, most, longest)
		}
	}
	k := waiting()
	o := answer(503)
	o.Wait = 7 * time.Second
	run(t, &k, start, o)
	if got := k.Due.Sub(start); got != 7*time.Second {
		t.Errorf("the application asked for 7 s, the wait is %v", got)
	}
}

func TestCancelAndRetry(t *testing.T) {
	k := waiting()
	if err := k.Again(start); !errors.Is(err, task.ErrOpen) {
		t.Errorf("retrying a task that waits: %v", err)
	}
	if err := k.Begin(start, task.Lease{Owner: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := k.Cancel(start); err != nil || k.State != task.Cancelled || len(k.Deliveries) != 0 {
		t.Errorf("cancelled: %+v, %v", k, err)
	}
	if err := k.Renew(task.Lease{Owner: "a"}); !errors.Is(err, task.ErrNotLeased) {
		t.Errorf("renewing a task that is cancelled: %v", err)
	}
	if err := k.Cancel(start); !errors.Is(err, task.ErrEnded) {
		t.Errorf("cancelling twice: %v", err)
	}
	if err := k.Again(start); err != nil || k.State != task.Waiting || k.Tried != 0 || !k.Ended.IsZero() {
		t.Errorf("retried: %+v, %v", k, err)
	}
	run(t, &k, start, answer(200))
	if k.State != task.Done {
		t.Errorf("after its retry the task is %s", k.State)
	}
}

func TestDeliveriesAreBounded(t *testing.T) {
	k := waiting()
	run(t, &k, start, answer(404))
	sent := func(letter bool, wrong error, final bool) {
		t.Helper()
		if err := k.Delivered(task.Sent{Now: start, Letter: letter, Wrong: wrong, Final: final}); err != nil {
			t.Fatal(err)
		}
	}
	sent(true, nil, false)
	for range task.DeliveryRetry.Tries {
		if k.Next().IsZero() {
			t.Fatal("the callback is not tried any more, too early")
		}
		sent(false, errors.New("no answer"), false)
	}
	if !k.Next().IsZero() || k.Deliveries[0].Sent || !k.Deliveries[1].Sent {
		t.Errorf("after all tries the deliveries are %+v", k.Deliveries)
	}
	if err := k.Delivered(task.Sent{Now: start}); !errors.Is(err, task.ErrEnded) {
		t.Errorf("one more: %v", err)
	}
}

// A copy of a Task must not change with another one: a store gives out copies.
func TestStepsLeaveCopiesAlone(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for range 2000 {
		k, at := waiting(), start
		for range 12 {
			before := k
			bytes := marshal(t, before)
			at = at.Add(time.Duration(random.IntN(3000)) * time.Millisecond)
			step(&k, at, random)
			if diff := cmp.Diff(string(bytes), string(marshal(t, before))); diff != "" {
				t.Fatalf("a step changed a copy (-before +after):\n%s", diff)
			}
			check(t, &k)
		}
	}
}

func step(k *task.Task, at time.Time, random *mathrand.Rand) {
	switch random.IntN(8) {
	case 0, 1, 2:
		_ = k.Begin(at, task.Lease{Owner: "a", Until: at.Add(time.Second)})
	case 3, 4:
		o := answer([]int{200, 404, 500, 503}[random.IntN(4)])
		o.Now, o.Owner = at, "a"
		_ = k.Finish(o)
	case 5:
		_ = k.Delivered(task.Sent{Now: at, Letter: random.IntN(2) == 0, Wrong: errors.New("no answer")})
	case 6:
		_ = k.Cancel(at)
	case 7:
		_ = k.Again(at)
	}
}

// check holds what is true of every Task.
func check(t *testing.T, k *task.Task) {
	t.Helper()
	open := slices.IndexFunc(k.Tries, func(r task.Try) bool { return r.Ended.IsZero() })
	switch {
	case k.State == task.Running != (open >= 0 && open == len(k.Tries)-1):
		t.Errorf("a task that is %s has the tries %+v", k.State, k.Tries)
	case k.Tried > k.Retry.Tries:
		t.Errorf("%d of %d tries", k.Tried, k.Retry.Tries)
	case k.State.Open() && (k.Next().IsZero() || len(k.Deliveries) > 0 || !k.Ended.IsZero()):
		t.Errorf("an open task without a next step: %+v", k)
	case !k.State.Open() && k.Ended.IsZero():
		t.Errorf("a task that ended at no time: %+v", k)
	}
}

func marshal(t *testing.T, k task.Task) []byte {
	t.Helper()
	b, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIDsSortByTimeAndCannotBeGuessed(t *testing.T) {
	var ids []string
	for i := range 1000 {
		id, err := task.NewID(start.Add(time.Duration(i)*time.Millisecond), rand.Reader)
		if err != nil || !task.ValidID(id) {
			t.Fatalf("%q, %v", id, err)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Error("later IDs do not sort after earlier ones")
	}
	for _, wrong := range []string{"", ids[0][1:], ids[0] + "0", ids[0][1:] + "/", ids[0][1:] + "u"} {
		if task.ValidID(wrong) {
			t.Errorf("%q is valid", wrong)
		}
	}
	if _, err := task.NewID(start, bytes.NewReader(make([]byte, 15))); err == nil {
		t.Error("an ID was made from less than 128 random bits")
	}
}

func TestKeysTellPartsApart(t *testing.T) {
	keys := map[string]bool{}
	for _, parts := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"a", "bc", ""}, {"", "ab", "c"}, {"a", "", "bc"}} {
		keys[task.Key(parts[0], parts[1], parts[2])] = true
	}
	if len(keys) != 5 {
		t.Errorf("5 keys became %d", len(keys))
	}
}
