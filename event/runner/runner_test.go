package runner_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/runner"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
	"sluice.dev/sluice/event/task"
)

// world is a store, a runner and an application that is a function.
type world struct {
	t      *testing.T
	store  *bolt.Store
	runner *runner.Runner
	stop   func()
}

func start(t *testing.T, o runner.Options, app func(*http.Request) (*http.Response, error)) *world {
	t.Helper()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "tasks"), store.DefaultLimits, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o.Store, o.Owner = s, "test"
	o.Send = func(_ string, r *http.Request) (*http.Response, error) { return app(r) }
	if o.Deliver == nil {
		o.Deliver = func(context.Context, string, http.Header, []byte) (bool, error) { return false, nil }
	}
	w := &world{t: t, store: s, runner: runner.New(o)}
	ctx, cancel := context.WithCancel(context.Background())
	cut, cutNow := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { w.runner.Run(ctx, cut) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		cutNow()
		done.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func answer(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (w *world) add(change func(*task.Task)) task.Task {
	w.t.Helper()
	at := time.Now()
	id, _ := task.NewID(at, rand.Reader)
	k := task.Task{
		ID: id, Revision: "default/hello-1", Accepted: at, Due: at, State: task.Waiting,
		Retry: task.Retry{Tries: 3, First: 10 * time.Millisecond, Most: 20 * time.Millisecond},
	}
	if change != nil {
		change(&k)
	}
	r := task.Request{
		Method: "POST", Target: "/work%2Fa?b=c", Host: "hello.example.com", Body: []byte("do it"),
		Header: map[string][]string{"A": {"b"}, "Authorization": {"secret"}},
	}
	if _, _, err := w.store.Add(w.t.Context(), k, r); err != nil {
		w.t.Fatal(err)
	}
	return k
}

// await returns the task when it is as wanted.
func (w *world) await(id string, as func(*task.Task) bool) task.Task {
	w.t.Helper()
	for {
		k, err := w.store.Get(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if as(&k) {
			return k
		}
		time.Sleep(time.Millisecond) // the test's own time-out is the bound
	}
}

func ended(k *task.Task) bool { return !k.State.Open() && k.Next().IsZero() }

func TestATaskIsAnOrdinaryRequest(t *testing.T) {
	w := start(t, runner.Options{}, func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "POST" || r.URL.RequestURI() != "/work%2Fa?b=c" || r.Host != "hello.example.com" || string(body) != "do it" ||
			r.Header.Get("A") != "b" || r.Header.Get(contract.TryHeader) != "1" || r.ContentLength != 5 {
			t.Errorf("the application gets %s %s %s %q %v", r.Method, r.Host, r.URL.RequestURI(), body, r.Header)
		}
		return answer(201, "made")
	})
	k := w.await(w.add(nil).ID, ended)
	if k.State != task.Done || k.Status != 201 || k.Tried != 1 {
		t.Errorf("the task is %+v", k)
	}
	r, err := w.store.Result(t.Context(), k.ID)
	if err != nil || string(r.Body) != "made" || r.Header["Content-Type"][0] != "text/plain" {
		t.Errorf("its result is %+v, %v", r, err)
	}
}

func TestAFailedTryIsRepeated(t *testing.T) {
	var tries atomic.Int32
	w := start(t, runner.Options{}, func(r *http.Request) (*http.Response, error) {
		if n := tries.Add(1); r.Header.Get(contract.TryHeader) != strconv.Itoa(int(n)) {
			t.Errorf("try %d says it is %s", n, r.Header.Get(contract.TryHeader))
		}
		switch tries.Load() {
		case 1:
			return answer(503, "busy")
		case 2:
			return nil, errors.New("connection reset")
		}
		return answer(200, "made")
	})
	k := w.await(w.add(nil).ID, ended)
	if k.State != task.Done || k.Tried != 3 || k.Tries[0].Status != 503 || !strings.Contains(k.Tries[1].Why, "connection reset") {
		t.Errorf("the task is %+v", k)
	}
}

func TestWhatReachedNoReplicaIsNoTry(t *testing.T) {
	var tries atomic.Int32
	w := start(t, runner.Options{}, func(*http.Request) (*http.Response, error) {
		if tries.Add(1) <= 5 {
			r, err := answer(503, "too many requests are waiting")
			r.Header.Set(contract.ReasonHeader, contract.ReasonQueueFull)
			return r, err
		}
		return answer(200, "made")
	})
	if k := w.await(w.add(nil).ID, ended); k.State != task.Done || k.Tried != 1 || len(k.Tries) != 6 {
		t.Errorf("the task is %+v", k)
	}
}

func TestTheWindowBoundsWhatRuns(t *testing.T) {
	var running, most atomic.Int32
	w := start(t, runner.Options{Window: 3}, func(*http.Request) (*http.Response, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		time.Sleep(time.Millisecond)
		return answer(200, "")
	})
	var ids []string
	for range 50 {
		ids = append(ids, w.add(nil).ID)
	}
	for _, id := range ids {
		w.await(id, ended)
	}
	if most.Load() > 3 {
		t.Errorf("%d tasks ran at a time, in a window of 3", most.Load())
	}
}

func TestWhatWaitsInTheStoreIsTheBacklog(t *testing.T) {
	release := make(chan struct{})
	w := start(t, runner.Options{Window: 2}, func(*http.Request) (*http.Response, error) {
		<-release
		return answer(200, "")
	})
	for range 10 {
		w.add(nil)
	}
	for w.runner.Backlog()["default/hello-1"] != 8 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	for len(w.runner.Backlog()) > 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestACancelledTaskEndsItsTry(t *testing.T) {
	began, over := make(chan struct{}), make(chan struct{})
	w := start(t, runner.Options{}, func(r *http.Request) (*http.Response, error) {
		close(began)
		<-r.Context().Done()
		close(over)
		return nil, r.Context().Err()
	})
	k := w.add(nil)
	<-began
	if _, err := w.store.Change(t.Context(), k.ID, nil, func(k *task.Task) error { return k.Cancel(time.Now()) }); err != nil {
		t.Fatal(err)
	}
	w.runner.Cancelled(k.ID)
	<-over
	if k := w.await(k.ID, ended); k.State != task.Cancelled || k.Tries[0].Why == "" {
		t.Errorf("the task is %+v", k)
	}
}

func TestTheDeadlineEndsATry(t *testing.T) {
	w := start(t, runner.Options{}, func(r *http.Request) (*http.Response, error) {
		if r.Header.Get(contract.DeadlineHeader) == "" {
			t.Error("the queue does not know the deadline")
		}
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	k := w.await(w.add(func(k *task.Task) { k.Deadline = k.Accepted.Add(50 * time.Millisecond) }).ID, ended)
	if k.State != task.Failed || !strings.Contains(k.Why, "deadline") {
		t.Errorf("the task is %+v", k)
	}
}

func TestCallbacksAndDeadLetters(t *testing.T) {
	type message struct {
		url    string
		header http.Header
		body   string
	}
	got, tries := make(chan message, 10), 0
	w := start(t, runner.Options{
		Deliver: func(_ context.Context, url string, header http.Header, body []byte) (bool, error) {
			if tries++; strings.HasSuffix(url, "/refused") {
				return true, errors.New("it is not wanted")
			}
			got <- message{url, header, string(body)}
			return false, nil
		},
	}, func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("A") == "" {
			return answer(200, "")
		}
		return answer(404, "not here")
	})
	failed := w.await(w.add(func(k *task.Task) { k.Callback, k.DeadLetter = "https://a/done", "https://a/dead" }).ID, ended)
	for range 2 {
		m := <-got
		switch m.url {
		case "https://a/done":
			if m.body != "not here" || m.header.Get(contract.StatusHeader) != "404" {
				t.Errorf("the callback is %+v", m)
			}
		case "https://a/dead":
			if m.body != "do it" || m.header.Get("A") != "b" || m.header.Get("Authorization") != "" {
				t.Errorf("the dead letter is %+v", m)
			}
		}
		if m.header.Get(contract.TaskHeader) != failed.ID || m.header.Get(contract.StateHeader) != "failed" {
			t.Errorf("it does not say what it is about: %v", m.header)
		}
	}
	refused := w.await(w.add(func(k *task.Task) { k.Callback = "https://a/refused" }).ID, ended)
	if d := refused.Deliveries[0]; d.Sent || d.Tried != 1 || d.Why != "it is not wanted" {
		t.Errorf("what nobody wants: %+v", d)
	}
}

func TestTheEndOfTheRunnerCutsTriesWithoutCountingThem(t *testing.T) {
	began := make(chan struct{})
	dir := t.TempDir()
	s, err := bolt.Open(filepath.Join(dir, "tasks"), store.DefaultLimits, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := runner.New(runner.Options{Store: s, Owner: "a", Send: func(_ string, r *http.Request) (*http.Response, error) {
		close(began)
		<-r.Context().Done()
		return nil, r.Context().Err()
	}})
	w := &world{t: t, store: s, runner: r}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.Run(ctx, ctx) })
	id := w.add(nil).ID
	<-began
	cancel()
	done.Wait()
	if k := w.await(id, func(*task.Task) bool { return true }); k.State != task.Waiting || k.Tried != 0 || len(k.Tries) != 1 {
		t.Errorf("the task is %+v", k)
	}
}

func TestALeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &oneTask{changed: make(chan struct{}, 1)}
		s.task = task.Task{ID: "1", Revision: "default/hello", Due: time.Now(), State: task.Waiting, Retry: task.DefaultRetry}
		release := make(chan struct{})
		r := runner.New(runner.Options{Store: s, Owner: "a", Lease: time.Minute, Send: func(string, *http.Request) (*http.Response, error) {
			<-release
			return answer(200, "")
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { r.Run(ctx, ctx) })
		for range 15 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if k := s.get(); k.State != task.Running || !k.Lease.Until.After(time.Now()) || k.Tried != 1 {
				t.Fatalf("the task is %+v at %v", k, time.Now())
			}
		}
		close(release)
		synctest.Wait()
		if k := s.get(); k.State != task.Done {
			t.Errorf("the task is %+v", k)
		}
		cancel()
		done.Wait()
	})
}

// oneTask is a store with one task, for tests whose time is not that of the machine.
type oneTask struct {
	store.Store
	changed chan struct{}
	mu      sync.Mutex
	task    task.Task
}

func (s *oneTask) get() task.Task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.task
}

func (s *oneTask) Changed() <-chan struct{} { return s.changed }

func (s *oneTask) Next() time.Time { return time.Time{} }

func (s *oneTask) Expire(context.Context, time.Time) (int, error) { return 0, nil }

func (s *oneTask) Request(context.Context, string) (task.Request, error) {
	return task.Request{Method: "POST", Target: "/"}, nil
}

func (s *oneTask) Due(_ context.Context, now time.Time, room func(string) int) ([]task.Task, error) {
	k := s.get()
	if next := k.Next(); next.IsZero() || next.After(now) || room(k.Revision) == 0 {
		return nil, nil
	}
	return []task.Task{k}, nil
}

func (s *oneTask) Deliveries(context.Context, time.Time, int) ([]task.Task, error) { return nil, nil }

func (s *oneTask) Change(_ context.Context, _ string, _ *task.Result, step func(*task.Task) error) (task.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.task
	if err := step(&k); err != nil {
		return k, err
	}
	s.task = k
	return k, nil
}
