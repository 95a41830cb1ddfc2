package bolt_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
	"sluice.dev/sluice/event/store/storetest"
	"sluice.dev/sluice/event/task"
)

func open(t testing.TB, file string, limits store.Limits) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(file, limits, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, limits store.Limits) *storetest.Harness {
		file := filepath.Join(t.TempDir(), "tasks")
		h := &storetest.Harness{Store: open(t, file, limits)}
		h.Reopen = func() store.Store {
			file = crash(t, file)
			h.Store = open(t, file, limits)
			return h.Store
		}
		return h
	})
}

// crash returns a copy of a file that is open: what the next process finds after kill -9.
func crash(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "tasks")
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestOneProcessAtATime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tasks")
	first := open(t, file, store.DefaultLimits)
	_, err := bolt.Open(file, store.DefaultLimits, time.Now())
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), file) {
		t.Errorf("opening it twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Get(t.Context(), "x"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("reading a closed store: %v", err)
	}
	if _, _, err := first.Add(t.Context(), task.Task{}, task.Request{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("writing to a closed store: %v", err)
	}
	open(t, file, store.DefaultLimits)
}

func TestBadFilesAndLimits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tasks")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(file, store.DefaultLimits, time.Now()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("opening a file of another kind: %v", err)
	}
	if _, err := bolt.Open(file, store.Limits{}, time.Now()); err == nil {
		t.Error("limits of nothing are accepted")
	}
}

// childFile is set in the process that is killed: it adds and finishes tasks in that file, and prints what was acknowledged.
const childFile = "SLUICE_TEST_TASK_STORE"

func TestMain(m *testing.M) {
	if file := os.Getenv(childFile); file != "" {
		work(file)
		return
	}
	os.Exit(m.Run())
}

// work goes on until somebody kills it.
func work(file string) {
	s, err := bolt.Open(file, store.DefaultLimits, time.Now())
	if err != nil {
		panic(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				at := time.Now()
				id, _ := task.NewID(at, rand.Reader)
				k := task.Task{ID: id, Revision: "default/hello", Accepted: at, Due: at, State: task.Waiting, Retry: task.DefaultRetry}
				if _, _, err := s.Add(context.Background(), k, task.Request{Method: "POST", Body: []byte("do it")}); err != nil {
					panic(err)
				}
				fmt.Println(id, task.Waiting)
				r := &task.Result{Status: 200, Body: []byte("made")}
				_, err := s.Change(context.Background(), id, r, func(k *task.Task) error {
					return errors.Join(k.Begin(at, task.Lease{Owner: "a"}), k.Finish(task.Outcome{Now: at, Owner: "a", Result: r}))
				})
				if err != nil {
					panic(err)
				}
				fmt.Println(id, task.Done)
			}
		})
	}
	all.Wait()
}

// Whatever was acknowledged before kill -9 must be there afterwards, whole.
func TestWhatWasAcknowledgedSurvivesSIGKILL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tasks")
	acknowledged := map[string]task.State{}
	for round := range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childFile+"="+file)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, killed := bufio.NewScanner(out), false
		for n := 0; lines.Scan(); n++ {
			if id, state, ok := strings.Cut(lines.Text(), " "); ok && task.State(state).Valid() {
				acknowledged[id] = task.State(state)
			}
			if n == 500 {
				killed = child.Process.Kill() == nil
			}
		}
		if err := child.Wait(); err == nil || !killed {
			t.Fatalf("the process ended by itself: %v", err)
		}
		s := open(t, file, store.DefaultLimits)
		checkAcknowledged(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("%d tasks were acknowledged", len(acknowledged))
}

func checkAcknowledged(t *testing.T, s *bolt.Store, want map[string]task.State) {
	t.Helper()
	for id, state := range want {
		k, err := s.Get(t.Context(), id)
		switch {
		case err != nil:
			t.Errorf("the task %s was acknowledged: %v", id, err)
			continue
		case state == task.Done && k.State != task.Done:
			t.Errorf("the task %s was done, and is %s", id, k.State)
		}
		body := []byte("made")
		if k.State == task.Done {
			if r, err := s.Result(t.Context(), id); err != nil || !bytes.Equal(r.Body, body) {
				t.Errorf("the result of %s is %q, %v", id, r.Body, err)
			}
		} else if _, err := s.Request(t.Context(), id); err != nil {
			t.Errorf("the request of %s: %v", id, err)
		}
	}
}
