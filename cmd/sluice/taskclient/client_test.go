package taskclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/store/bolt"
	"sluice.dev/sluice/event/task"
)

// kept is a task store with the addresses of a process that has one.
type kept struct {
	t              *testing.T
	store          store.Store
	admin, gateway string
	added          int
}

const host = "work.default.localhost"

func newKept(t *testing.T) *kept {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "tasks.db"), store.DefaultLimits, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	in := intake.New(intake.Options{Store: s, CheckURL: func(string) error { return nil }})
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Error(w, "this address only reads", http.StatusMethodNotAllowed)
			return
		}
		in.Admin(w, r)
	}))
	t.Cleanup(admin.Close)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host {
			http.NotFound(w, r)
			return
		}
		in.Serve(w, r, "default", "work-00001")
	}))
	t.Cleanup(gateway.Close)
	return &kept{t: t, store: s, admin: admin.URL, gateway: gateway.URL}
}

// add adds a task of a revision, and has it take steps.
func (k *kept) add(revision string, result *task.Result, steps ...func(*task.Task) error) string {
	k.t.Helper()
	now := time.Now()
	k.added++ // IDs of one millisecond have no order
	id, err := task.NewID(now.Add(time.Duration(k.added)*time.Millisecond), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	t := task.Task{
		ID: id, Revision: revision, Host: host, Accepted: now, Due: now, State: task.Waiting, Retry: task.DefaultRetry, Sender: "shop\x1b[2J",
	}
	if _, _, err := k.store.Add(k.t.Context(), t, task.Request{Method: "GET", Target: "/"}); err != nil {
		k.t.Fatal(err)
	}
	for i, step := range steps {
		var r *task.Result
		if i == len(steps)-1 {
			r = result
		}
		if _, err := k.store.Change(k.t.Context(), id, r, step); err != nil {
			k.t.Fatal(err)
		}
	}
	return id
}

func begin(t *task.Task) error {
	return t.Begin(time.Now(), task.Lease{Owner: "a", Until: time.Now().Add(time.Minute)})
}

func finish(r *task.Result) func(*task.Task) error {
	return func(t *task.Task) error {
		return t.Finish(task.Outcome{Now: time.Now(), Owner: "a", Result: r, Replica: "127.0.0.1:1234"})
	}
}

// run runs a command.
func (k *kept) run(args ...string) (out, log string, err error) {
	k.t.Helper()
	var stdout, stderr bytes.Buffer
	args = append(args, "--admin", k.admin)
	if args[0] != "list" {
		args = append(args, "--gateway", k.gateway)
	}
	c := Command()
	c.SetArgs(args)
	c.SetOut(&stdout)
	c.SetErr(&stderr)
	c.SilenceUsage, c.SilenceErrors = true, true
	err = c.ExecuteContext(k.t.Context())
	return stdout.String(), stderr.String(), err
}

func TestTasksAreListed(t *testing.T) {
	k := newKept(t)
	first := k.add("default/work-00001", nil)
	failed := &task.Result{Status: 404, Body: []byte("no")}
	second := k.add("default/work-00001", failed, begin, finish(failed))
	third := k.add("shop/other-00001", nil)
	for _, test := range []struct {
		args []string
		ids  []string
	}{
		{nil, []string{first, second, third}},
		{[]string{"-n", "shop"}, []string{third}},
		{[]string{"--revision", "work-00001"}, []string{first, second}},
		{[]string{"-n", "shop", "--revision", "other-00001"}, []string{third}},
		{[]string{"--state", "failed"}, []string{second}},
		{[]string{"--limit", "1"}, []string{first}},
	} {
		out, log, err := k.run(append([]string{"list"}, test.args...)...)
		if err != nil {
			t.Errorf("%v: %v", test.args, err)
			continue
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")[1:]
		if len(lines) != len(test.ids) {
			t.Errorf("%v lists\n%s", test.args, out)
			continue
		}
		for i, id := range test.ids {
			if !strings.HasPrefix(lines[i], id+" ") {
				t.Errorf("%v: line %d is %q, want %s", test.args, i, lines[i], id)
			}
		}
		if strings.Contains(log, "more than") != (len(test.args) > 0 && test.args[0] == "--limit") {
			t.Errorf("%v says %q", test.args, log)
		}
		out, _, err = k.run(append([]string{"list", "-o", "json"}, test.args...)...)
		var list intake.List
		if err != nil || json.Unmarshal([]byte(out), &list) != nil || len(list.Tasks) != len(test.ids) {
			t.Errorf("%v as JSON: %v\n%s", test.args, err, out)
		}
	}
	if out, _, _ := k.run("list", "--state", "failed"); !strings.Contains(out, "1/5") || !strings.Contains(out, "404") {
		t.Errorf("the table has no tries and no status:\n%s", out)
	}
}

func TestAListHasManyPages(t *testing.T) {
	k := newKept(t)
	const n = page + 2
	for range n {
		k.add("default/work-00001", nil)
	}
	c := Client{Admin: k.admin, HTTP: http.DefaultClient}
	for limit, want := range map[int]int{n + 1: n, n: n, n - 1: n - 1, page: page} {
		tasks, more, err := c.List(t.Context(), Filter{Limit: limit})
		if err != nil || len(tasks) != want || more != (limit < n) {
			t.Errorf("of %d: %d tasks, more %v, %v", limit, len(tasks), more, err)
		}
	}
}

func TestTasksAreCancelledAndRetried(t *testing.T) {
	k := newKept(t)
	one, two := k.add("default/work-00001", nil), k.add("default/work-00001", nil, begin)
	is := func(id string, state task.State) {
		t.Helper()
		if got, err := k.store.Get(context.Background(), id); err != nil || got.State != state {
			t.Errorf("the task is %s, %v", got.State, err)
		}
	}
	out, _, err := k.run("cancel", one, two)
	if err != nil || out != one+" is cancelled\n"+two+" is cancelled\n" {
		t.Errorf("%v: %s", err, out)
	}
	is(two, task.Cancelled)
	out, _, err = k.run("retry", one, "--host", host)
	if err != nil || out != one+" is waiting\n" {
		t.Errorf("%v: %s", err, out)
	}
	is(one, task.Waiting)
	// Of several tasks, one that cannot be changed does not keep the others from it.
	if _, _, err = k.run("retry", one, two); err == nil || !strings.Contains(err.Error(), "retrying the task "+one) {
		t.Errorf("retrying a task that waits: %v", err)
	}
	is(two, task.Waiting)
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	k := newKept(t)
	id := k.add("default/work-00001", nil)
	missing := strings.Repeat("0", len(id))
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"show", "1"}, `"1" is no ID of a task: sluice tasks list shows them`},
		{[]string{"cancel", "../x", "--host", host}, `"../x" is no ID`},
		{[]string{"show", missing}, "there is no such task"},
		{[]string{"cancel", missing, "--host", host}, "cancelling the task " + missing + ": there is no such task"},
		{[]string{"cancel", id, "--host", "other.localhost"}, "is it the right address and host?"},
		{[]string{"show", id, "--result"}, "the task is waiting: it has no result yet"},
		{[]string{"show", id, "--output", "yaml"}, "--output"},
		{[]string{"list", "--state", "gone"}, "waiting, running, done, failed or cancelled"},
		{[]string{"list", "--limit", "0"}, "--limit"},
	} {
		if out, _, err := k.run(test.args...); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v, %s", test.args, err, out)
		}
	}
	k.admin = "127.0.0.1:1"
	if _, _, err := k.run("list"); err == nil || !strings.Contains(err.Error(), "is sluice up running") {
		t.Errorf("without a server: %v", err)
	}
}

func TestTheStoryOfATask(t *testing.T) {
	k := newKept(t)
	busy := &task.Result{Status: 503, Body: []byte("busy")}
	waits := k.add("default/work-00001", busy, begin, finish(busy))
	good := &task.Result{Status: 200, Body: []byte("picture")}
	done := k.add("default/work-00001", good, begin, finish(good))
	for id, wants := range map[string][]string{
		waits: {"is waiting", "accepted", "for default/work-00001 at " + host + " from shop [2J", "try 1", "by replica 127.0.0.1:1234 was answered 503",
			"waits", "try 2 of 5 is next: the answer was 503"},
		done: {"is done; the application's last answer was 200, with 7 bytes", "ended"},
	} {
		out, _, err := k.run("show", id)
		if err != nil {
			t.Error(err)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("the story has no %q:\n%s", want, out)
			}
		}
	}
	for _, args := range [][]string{{"show", done, "--result"}, {"show", done, "--result", "--host", host}} {
		if out, _, err := k.run(args...); err != nil || out != "picture" {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
}
