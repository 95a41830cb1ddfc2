package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

func bounded(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	limits := Limits
	limits.Open, limits.OpenOfRevision = 5, 3
	s, at := open(t, limits).Store, now()
	first := add(t, s, Make(t, "default/one", at), request)
	for range 2 {
		add(t, s, Make(t, "default/one", at), request)
	}
	refused := func(revision string) {
		t.Helper()
		if _, _, err := s.Add(t.Context(), Make(t, revision, at), request); !errors.Is(err, store.ErrTooMany) {
			t.Errorf("one more task of %s: %v", revision, err)
		}
	}
	refused("default/one")
	add(t, s, Make(t, "default/two", at), request)
	add(t, s, Make(t, "default/two", at), request)
	refused("default/two")
	end(t, s, first.ID, at, nil)
	add(t, s, Make(t, "default/one", at), request)
}

func full(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	limits := Limits
	limits.Bytes = 100_000
	s, at := open(t, limits).Store, now()
	large := request
	large.Body = make([]byte, 10_000)
	var ids []string
	for {
		k := Make(t, "default/hello", at)
		_, _, err := s.Add(t.Context(), k, large)
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil || len(ids) > 20 {
			t.Fatalf("after %d tasks: %v", len(ids), err)
		}
		ids = append(ids, k.ID)
	}
	if len(ids) == 0 {
		t.Fatal("an empty store is full")
	}
	for _, id := range ids {
		end(t, s, id, at, make([]byte, 10_000))
	}
	add(t, s, Make(t, "default/hello", at), large)
}

func expires(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	done, waits := add(t, s, Make(t, "default/hello", at), request), add(t, s, Make(t, "default/hello", at), request)
	end(t, s, done.ID, at, []byte("made"))
	if n, err := s.Expire(t.Context(), at.Add(Limits.Retention-time.Second)); err != nil || n != 0 {
		t.Errorf("%d tasks were removed before their time, %v", n, err)
	}
	if n, err := s.Expire(t.Context(), at.Add(Limits.Retention+time.Second)); err != nil || n != 1 {
		t.Errorf("%d tasks were removed after their time, %v", n, err)
	}
	if _, err := s.Get(t.Context(), done.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("getting a task that was removed: %v", err)
	}
	if _, err := s.Result(t.Context(), done.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("getting its result: %v", err)
	}
	get(t, s, waits.ID)
}

func trims(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	limits := Limits
	limits.ResultBytes = 50_000
	s, at := open(t, limits).Store, now()
	var ids []string
	for i := range 10 {
		moment := at.Add(time.Duration(i) * time.Millisecond)
		ids = append(ids, add(t, s, Make(t, "default/hello", moment), request).ID)
		end(t, s, ids[i], moment, make([]byte, 10_000))
	}
	if _, err := s.Expire(t.Context(), at.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if used := s.Usage().ResultBytes; used > limits.ResultBytes {
		t.Errorf("the results have %d bytes, more than %d", used, limits.ResultBytes)
	}
	if _, err := s.Result(t.Context(), ids[0]); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the oldest result: %v", err)
	}
	if _, err := s.Result(t.Context(), ids[9]); err != nil {
		t.Errorf("the newest result: %v", err)
	}
	get(t, s, ids[9])
}

func lists(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	var ids []string
	for i := range 7 {
		revision := "default/one"
		if i%2 == 1 {
			revision = "other/two"
		}
		ids = append(ids, add(t, s, Make(t, revision, at.Add(time.Duration(i)*time.Millisecond)), request).ID)
	}
	end(t, s, ids[2], at.Add(time.Second), nil)
	for _, test := range []struct {
		name string
		q    store.Query
		want []string
	}{
		{"all", store.Query{Limit: 10}, ids},
		{"a page", store.Query{Limit: 3}, ids[:3]},
		{"the next page", store.Query{Limit: 3, After: ids[2]}, ids[3:6]},
		{"of a revision", store.Query{Limit: 10, Revision: "other/two"}, []string{ids[1], ids[3], ids[5]}},
		{"of a namespace", store.Query{Limit: 2, Namespace: "default"}, []string{ids[0], ids[2]}},
		{"in a state", store.Query{Limit: 10, State: task.Done}, []string{ids[2]}},
	} {
		tasks, err := s.List(t.Context(), test.q)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, k := range tasks {
			got = append(got, k.ID)
		}
		equal(t, test.name, test.want, got)
	}
}

func depths(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	first := add(t, s, Make(t, "default/one", at), request)
	second := add(t, s, Make(t, "default/one", at.Add(time.Millisecond)), request)
	change(t, s, second.ID, nil, begin(at.Add(time.Second), "a"))
	third := add(t, s, Make(t, "default/one", at.Add(time.Hour)), request)
	dueIDs(t, s, at.Add(time.Second), 0)
	equal(t, "depths", map[string]store.Depth{"default/one": {Waiting: 2, Due: 1, Running: 1, Oldest: at}}, s.Depths())
	change(t, s, first.ID, nil, func(k *task.Task) error { return k.Cancel(at) })
	change(t, s, third.ID, nil, func(k *task.Task) error { return k.Cancel(at) })
	equal(t, "depths after one ended", map[string]store.Depth{"default/one": {Running: 1, Oldest: second.Accepted}}, s.Depths())
	change(t, s, second.ID, nil, func(k *task.Task) error { return k.Cancel(at) })
	equal(t, "depths after all ended", map[string]store.Depth{}, s.Depths())
	if used := s.Usage(); used.Open != 0 || used.Bytes != 0 {
		t.Errorf("nothing is open, and used is %+v", used)
	}
}

func contended(t *testing.T, open func(*testing.T, store.Limits) *Harness) {
	s, at := open(t, Limits).Store, now()
	k := add(t, s, Make(t, "default/hello", at), request)
	var begun atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			_, err := s.Change(t.Context(), k.ID, nil, begin(at, string(rune('a'+i))))
			switch {
			case err == nil:
				begun.Add(1)
			case !errors.Is(err, task.ErrNotDue):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if begun.Load() != 1 {
		t.Errorf("%d runners have begun the task", begun.Load())
	}
}
