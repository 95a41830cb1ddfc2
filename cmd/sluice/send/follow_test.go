package send

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
	"sluice.dev/sluice/event/task"
)

// TestFollow follows a task in a real store; at each question the test takes the next step of the task's life.
func TestFollow(t *testing.T) {
	begin := func(k *task.Task) error {
		return k.Begin(time.Now(), task.Lease{Owner: "a", Until: time.Now().Add(time.Hour)})
	}
	answered := func(status int) func(*task.Task) error {
		return func(k *task.Task) error {
			return k.Finish(task.Outcome{Now: time.Now(), Owner: "a", Result: &task.Result{Status: status}})
		}
	}
	for _, test := range []struct {
		name  string
		steps []func(*task.Task) error
		code  int
		log   []string // states, in their order
		says  string
	}{
		{"done", []func(*task.Task) error{begin, answered(200)}, 0, []string{"waiting", "running", "done"}, ""},
		{"failed", []func(*task.Task) error{begin, answered(404)}, exitFailed, []string{"waiting", "running", "failed"}, "answered 404"},
		{"cancelled", []func(*task.Task) error{func(k *task.Task) error { return k.Cancel(time.Now()) }}, exitCancelled,
			[]string{"waiting", "cancelled"}, "was cancelled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := bolt.Open(filepath.Join(t.TempDir(), "tasks.db"), store.DefaultLimits, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			in := intake.New(intake.Options{Store: s, CheckURL: func(string) error { return nil }})
			steps := append([]func(*task.Task) error{nil, nil}, test.steps...) // accepted, and seen as it waits
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				id := strings.TrimPrefix(r.URL.Path, contract.TaskPath)
				if len(steps) > 0 {
					step := steps[0]
					steps = steps[1:]
					if step != nil {
						if _, err := s.Change(context.Background(), id, &task.Result{Status: 200, Body: []byte("picture")}, step); err != nil {
							t.Error(err)
						}
					}
				}
				in.Serve(w, r, "default", "work-00001")
			}))
			defer server.Close()
			var out, log bytes.Buffer
			c := Command()
			c.SetArgs([]string{server.URL, "--follow", "--host", "work.example.com"})
			c.SetOut(&out)
			c.SetErr(&log)
			c.SilenceUsage, c.SilenceErrors = true, true
			err = c.ExecuteContext(t.Context())
			var exit command.Exit
			if errors.As(err, &exit); exit.Code != test.code || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("it ends with %v, code %d", err, exit.Code)
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != len(test.log) {
				t.Fatalf("the states are\n%s", log.String())
			}
			for i, state := range test.log {
				if _, text, _ := strings.Cut(lines[i], " "); !strings.HasPrefix(text, state) {
					t.Errorf("state %d is %q, want %s", i, lines[i], state)
				}
			}
			if test.code == 0 && out.String() != "picture" {
				t.Errorf("the result is %q", out.String())
			}
		})
	}
}

func TestOnlyTasksAreFollowed(t *testing.T) {
	_, _, out, _, err := run(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }, "", "--follow")
	if err == nil || !strings.Contains(err.Error(), "leave out --follow") || out != "hello" {
		t.Errorf("%q, %v", out, err)
	}
	_, _, _, _, err = run(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInsufficientStorage) }, "", "--follow")
	if err == nil || !strings.Contains(err.Error(), "507") {
		t.Error(err)
	}
}
