package storetest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// Harness is one store under test.
type Harness struct {
	Store store.Store
	// Reopen ends the store as kill -9 would, as far as that is possible in a process, and opens it again.
	Reopen func() store.Store
}

// Limits are those that the suite gives to a store, unless a test is about a limit.
var Limits = store.Limits{
	Open: 10_000, OpenOfRevision: 10_000, Bytes: 64 << 20, ResultBytes: 64 << 20, Retention: time.Hour, Window: time.Minute,
}

// Run runs the suite. open makes an empty store, which the harness closes by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, limits store.Limits) *Harness) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func(*testing.T, store.Limits) *Harness)
	}{
		{"a task is kept with its request", keeps},
		{"a step is applied to the newest record", steps},
		{"a step that returns an error changes nothing", refusesSteps},
		{"what is stored survives", survives},
		{"what is due comes by age and room", due},
		{"a task that waits is due later", later},
		{"a try that nobody ends is due again", lapses},
		{"a delivery is due until it is over", deliveries},
		{"the same event is one task within the window", duplicates},
		{"the same event at the same time is one task", duplicatesAtOnce},
		{"the number of open tasks is bounded", bounded},
		{"the bytes are bounded, and steps are not refused", full},
		{"results are kept for a time", expires},
		{"results are kept for a size", trims},
		{"a list has an order and pages", lists},
		{"depths count what is open", depths},
		{"one of many runners begins a task", contended},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

// now is a moment with the precision of every store.
func now() time.Time { return time.Now().Round(time.Millisecond).UTC() }

// Make makes a task of a revision, accepted and due at a moment.
func Make(t testing.TB, revision string, at time.Time) task.Task {
	t.Helper()
	id, err := task.NewID(at, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return task.Task{ID: id, Revision: revision, Accepted: at, State: task.Waiting, Due: at, Retry: task.DefaultRetry}
}

var request = task.Request{
	Method: "POST", Target: "/work?a=b", Host: "hello.default.example.com",
	Header: map[string][]string{"Content-Type": {"text/plain"}}, Body: []byte("do it"),
}

func add(t *testing.T, s store.Store, k task.Task, r task.Request) task.Task {
	t.Helper()
	got, duplicate, err := s.Add(t.Context(), k, r)
	if err != nil || duplicate {
		t.Fatalf("adding a task: duplicate %v, %v", duplicate, err)
	}
	return got
}

func get(t *testing.T, s store.Store, id string) task.Task {
	t.Helper()
	k, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("getting the task %s: %v", id, err)
	}
	return k
}

func change(t *testing.T, s store.Store, id string, result *task.Result, step func(*task.Task) error) task.Task {
	t.Helper()
	k, err := s.Change(t.Context(), id, result, step)
	if err != nil {
		t.Fatalf("changing the task %s: %v", id, err)
	}
	return k
}

func begin(at time.Time, owner string) func(*task.Task) error {
	return func(k *task.Task) error { return k.Begin(at, task.Lease{Owner: owner, Until: at.Add(time.Minute)}) }
}

func finish(at time.Time, owner string, r *task.Result) func(*task.Task) error {
	return func(k *task.Task) error { return k.Finish(task.Outcome{Now: at, Owner: owner, Result: r}) }
}

// end runs a task to its end.
func end(t *testing.T, s store.Store, id string, at time.Time, body []byte) {
	t.Helper()
	r := &task.Result{Status: 200, Body: body}
	change(t, s, id, nil, begin(at, "a"))
	change(t, s, id, r, finish(at, "a", r))
}

func dueIDs(t *testing.T, s store.Store, at time.Time, room int) []string {
	t.Helper()
	tasks, err := s.Due(t.Context(), at, func(string) int { return room })
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, k := range tasks {
		ids = append(ids, k.ID)
	}
	return ids
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if w, g := text(t, want), text(t, got); w != g {
		t.Errorf("%s is\n%s\nwant\n%s", what, g, w)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func keeps(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s := open(t, Limits).Store
	k := Make(t, "default/hello-1", now())
	k.Sender, k.Callback = "billing", "https://example.com/done"
	equal(t, "added", k, add(t, s, k, request))
	equal(t, "got", k, get(t, s, k.ID))
	r, err := s.Request(t.Context(), k.ID)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "request", request, r)
	if _, err := s.Result(t.Context(), k.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the result of a task that waits: %v", err)
	}
	if _, err := s.Get(t.Context(), Make(t, "default/hello-1", now()).ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a task that there never was: %v", err)
	}
}

func steps(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	k := add(t, s, Make(t, "default/hello-1", at), request)
	running := change(t, s, k.ID, nil, begin(at, "a"))
	if running.State != task.Running || running.Tried != 1 {
		t.Errorf("after its beginning the task is %+v", running)
	}
	equal(t, "running", running, get(t, s, k.ID))
	result := task.Result{Status: 201, Header: map[string][]string{"A": {"b"}}, Body: []byte("made")}
	done := change(t, s, k.ID, &result, finish(at, "a", &result))
	if done.State != task.Done || done.Size != 4 {
		t.Errorf("after its end the task is %+v", done)
	}
	got, err := s.Result(t.Context(), k.ID)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "result", result, got)
}

func refusesSteps(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s := open(t, Limits).Store
	k := add(t, s, Make(t, "default/hello-1", now()), request)
	wrong := errors.New("no")
	_, err := s.Change(t.Context(), k.ID, nil, func(k *task.Task) error {
		k.State = task.Done
		return wrong
	})
	if err != wrong { //nolint:errorlint // it must be the error itself
		t.Errorf("the error of a step is %v", err)
	}
	equal(t, "unchanged", k, get(t, s, k.ID))
	missing := Make(t, "default/hello-1", now()).ID
	if _, err := s.Change(t.Context(), missing, nil, begin(now(), "a")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("changing a task that there is not: %v", err)
	}
}

func survives(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	h, at := open(t, Limits), now()
	var all []string
	for i := range 20 {
		k := Make(t, fmt.Sprintf("default/hello-%d", i%3), at.Add(time.Duration(i)*time.Millisecond))
		k.Key = task.Key("default", "test", fmt.Sprint(i))
		all = append(all, add(t, h.Store, k, request).ID)
	}
	at = at.Add(time.Second)
	end(t, h.Store, all[0], at, []byte("made"))
	change(t, h.Store, all[1], nil, begin(at, "a"))
	s := h.Reopen()
	if k := get(t, s, all[0]); k.State != task.Done {
		t.Errorf("a task that was done is %s", k.State)
	}
	if r, err := s.Result(t.Context(), all[0]); err != nil || !bytes.Equal(r.Body, []byte("made")) {
		t.Errorf("its result is %q, %v", r.Body, err)
	}
	for _, id := range all[2:] {
		if k := get(t, s, id); k.State != task.Waiting {
			t.Errorf("a task that waited is %s", k.State)
		}
		if _, err := s.Request(t.Context(), id); err != nil {
			t.Errorf("its request: %v", err)
		}
	}
	if got := len(dueIDs(t, s, at.Add(10*time.Minute), 100)); got != 19 {
		t.Errorf("%d tasks are due after the lease of the interrupted one, want 19", got)
	}
	k := Make(t, "default/hello-1", at)
	k.Key = task.Key("default", "test", "5")
	if got, duplicate, err := s.Add(t.Context(), k, request); err != nil || !duplicate || got.ID != all[5] {
		t.Errorf("a duplicate after the restart: %s, %v, %v", got.ID, duplicate, err)
	}
}

func due(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now().Add(-time.Second)
	var first, second []string
	for i := range 5 {
		moment := at.Add(time.Duration(i) * time.Millisecond)
		first = append(first, add(t, s, Make(t, "default/first", moment), request).ID)
		second = append(second, add(t, s, Make(t, "default/second", moment), request).ID)
	}
	got := map[string][]string{}
	tasks, err := s.Due(t.Context(), now(), func(revision string) int {
		if revision == "default/first" {
			return 3
		}
		return 100
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range tasks {
		got[k.Revision] = append(got[k.Revision], k.ID)
	}
	equal(t, "due", map[string][]string{"default/first": first[:3], "default/second": second}, got)
	equal(t, "without room", []string{}, dueIDs(t, s, now(), 0))
	change(t, s, first[0], nil, begin(now(), "a"))
	change(t, s, second[0], nil, func(k *task.Task) error { return k.Cancel(now()) })
	if got := len(dueIDs(t, s, now(), 100)); got != 8 {
		t.Errorf("%d are due, want 8: one runs, one is cancelled", got)
	}
}

func later(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	k := add(t, s, Make(t, "default/hello", at), request)
	change(t, s, k.ID, nil, begin(at, "a"))
	after := change(t, s, k.ID, nil, func(k *task.Task) error {
		return k.Finish(task.Outcome{Now: at, Owner: "a", Why: "the replica is gone"})
	})
	if after.State != task.Waiting || !after.Due.After(at) {
		t.Fatalf("after a try that failed the task is %+v", after)
	}
	equal(t, "before", []string{}, dueIDs(t, s, after.Due.Add(-time.Millisecond), 1))
	if next := s.Next(); !next.Equal(after.Due) {
		t.Errorf("the next task is due at %v, want %v", next, after.Due)
	}
	equal(t, "when it is due", []string{k.ID}, dueIDs(t, s, after.Due, 1))
}

func lapses(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	k := add(t, s, Make(t, "default/hello", at), request)
	change(t, s, k.ID, nil, begin(at, "a"))
	equal(t, "within the lease", []string{}, dueIDs(t, s, at.Add(59*time.Second), 1))
	equal(t, "after the lease", []string{k.ID}, dueIDs(t, s, at.Add(time.Minute), 1))
	taken := change(t, s, k.ID, nil, begin(at.Add(time.Minute), "b"))
	if taken.Tried != 2 || taken.Tries[0].Why == "" {
		t.Errorf("the interrupted try is not recorded: %+v", taken)
	}
	if _, err := s.Change(t.Context(), k.ID, nil, finish(at, "a", &task.Result{Status: 200})); !errors.Is(err, task.ErrNotLeased) {
		t.Errorf("who has lost the lease ends the task: %v", err)
	}
}

func deliveries(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	h, at := open(t, Limits), now()
	s := h.Store
	k := Make(t, "default/hello", at)
	k.Callback = "https://example.com/done"
	add(t, s, k, request)
	end(t, s, k.ID, at, nil)
	if got, err := s.Deliveries(t.Context(), at, 10); err != nil || len(got) != 1 || got[0].ID != k.ID {
		t.Fatalf("deliveries: %+v, %v", got, err)
	}
	s = h.Reopen()
	sent := func(wrong error) func(*task.Task) error {
		return func(k *task.Task) error { return k.Delivered(task.Sent{Now: at, Wrong: wrong}) }
	}
	after := change(t, s, k.ID, nil, sent(errors.New("no answer")))
	if got, err := s.Deliveries(t.Context(), at, 10); err != nil || len(got) != 0 {
		t.Errorf("deliveries before the back-off is over: %+v, %v", got, err)
	}
	if n, err := s.Expire(t.Context(), at.Add(2*Limits.Retention)); err != nil || n != 0 {
		t.Errorf("%d tasks with a delivery were removed, %v", n, err)
	}
	if got, err := s.Deliveries(t.Context(), after.Next(), 10); err != nil || len(got) != 1 {
		t.Errorf("deliveries after it: %+v, %v", got, err)
	}
	change(t, s, k.ID, nil, sent(nil))
	if got, err := s.Deliveries(t.Context(), at.Add(time.Hour), 10); err != nil || len(got) != 0 {
		t.Errorf("deliveries after the arrival: %+v, %v", got, err)
	}
}

func duplicates(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	k := Make(t, "default/hello", at)
	k.Key = task.Key("default", "shop", "1")
	add(t, s, k, request)
	end(t, s, k.ID, at, nil)
	again := Make(t, "default/hello", at.Add(Limits.Window-time.Second))
	again.Key = k.Key
	if got, duplicate, err := s.Add(t.Context(), again, request); err != nil || !duplicate || got.ID != k.ID || got.State != task.Done {
		t.Errorf("within the window: %+v, %v, %v", got, duplicate, err)
	}
	again = Make(t, "default/hello", at.Add(Limits.Window+time.Second))
	again.Key = k.Key
	add(t, s, again, request)
	other := Make(t, "default/hello", at)
	other.Key = task.Key("other", "shop", "1")
	add(t, s, other, request)
}

func duplicatesAtOnce(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	var mu sync.Mutex
	ids, firsts := map[string]bool{}, 0
	var all sync.WaitGroup
	for range 16 {
		k := Make(t, "default/hello", at)
		k.Key = task.Key("default", "shop", "1")
		all.Go(func() {
			got, duplicate, err := s.Add(t.Context(), k, request)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[got.ID] = true
			if !duplicate {
				firsts++
			}
		})
	}
	all.Wait()
	if len(ids) != 1 || firsts != 1 {
		t.Errorf("one event became %d tasks, and was the first one %d times", len(ids), firsts)
	}
}
