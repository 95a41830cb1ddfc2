package feature

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// asked is what an activator answers about an asynchronous task.
type asked struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Tried     int    `json:"tried"`
	Why       string `json:"why"`
	Result    string `json:"result"`
	Duplicate bool   `json:"duplicate"`
	Tries     []struct {
		Replica string `json:"replica"`
	} `json:"tries"`
}

// askTask sends a request to a host, and returns the answer and its body.
func (s *instance) askTask(method, host, path string, header ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.gateway+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.exchange(request, host, header...)
}

// exchange sends a request to a host with more headers, and returns the answer and its body.
func (s *instance) exchange(request *http.Request, host string, header ...string) (*http.Response, string) {
	s.t.Helper()
	request.Host = host
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(body)
}

// accepted has a task accepted.
func (s *instance) accepted(host, query string, header ...string) asked {
	s.t.Helper()
	response, body := s.askTask(http.MethodGet, host, "/?"+query, append([]string{"Prefer", "respond-async"}, header...)...)
	if response.StatusCode != http.StatusAccepted || response.Header.Get("Preference-Applied") != "respond-async" {
		s.t.Fatalf("the task is answered %s: %s", response.Status, body)
	}
	var a asked
	if err := json.Unmarshal([]byte(body), &a); err != nil || !strings.HasSuffix(response.Header.Get("Location"), "/"+a.ID) {
		s.t.Fatalf("the answer is %q at %q: %v", body, response.Header.Get("Location"), err)
	}
	return a
}

// endsAs waits until a task has ended, and returns it.
func (s *instance) endsAs(host, id, state string) (a asked) {
	s.t.Helper()
	eventually(s.t, "the task is "+state, func() error {
		_, body := s.askTask(http.MethodGet, host, "/.well-known/sluice/tasks/"+id)
		a = asked{}
		if err := json.Unmarshal([]byte(body), &a); err != nil || a.State != state {
			return fmt.Errorf("it is %s", body)
		}
		return nil
	})
	return a
}

// TestAsynchronousTasks has tasks accepted, run and answered for later, and kills sluice up between.
func TestAsynchronousTasks(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		service, journal := newTasks(t, "work", 2)
		s.create(service)
		s.ready("work")
		const host = "work.default.localhost"
		first := s.accepted(host, "ms=1&id=0", "Ce-Id", "1", "Ce-Source", "shop")
		done := s.endsAs(host, first.ID, "done")
		if done.Tried != 1 || len(done.Tries) != 1 || done.Tries[0].Replica == "" {
			t.Errorf("the task is %+v", done)
		}
		if response, body := s.askTask(http.MethodGet, host, done.Result); response.StatusCode != 200 || response.Header.Get("App-Process") == "" {
			t.Errorf("its result is %s, %v: %s", response.Status, response.Header, body)
		}
		if again := s.accepted(host, "ms=1&id=0", "Ce-Id", "1", "Ce-Source", "shop"); again.ID != first.ID || !again.Duplicate {
			t.Errorf("the same event again is %+v", again)
		}
		s.refusals(host)
		s.cancels(host)
		// More tasks than replicas: some wait in the store and some run when everything is killed.
		const n = 20
		var ids []string
		for i := range n {
			ids = append(ids, s.accepted(host, fmt.Sprintf("ms=100&id=%d", 100+i)).ID)
		}
		s.kill()
		s.start()
		tried := 0
		for _, id := range ids {
			tried += s.endsAs(host, id, "done").Tried
		}
		begun, _ := ran(t, journal)
		runs := 0
		for i := range n {
			times := begun[fmt.Sprint(100+i)]
			if times == 0 {
				t.Errorf("task %d did not run", i)
			}
			runs += times
		}
		if begun["0"] != 1 || runs > tried {
			t.Errorf("the first task ran %d times; %d tasks ran %d times, and the store knows %d tries", begun["0"], n, runs, tried)
		}
		t.Logf("%d tasks, %d tries, %d runs", n, tried, runs)
	})
}

// refusals sends what must not become a task.
func (s *instance) refusals(host string) {
	s.t.Helper()
	for _, test := range []struct {
		name, header, value string
	}{
		{"a deadline in the past", "Sluice-Deadline", time.Now().Add(-time.Minute).Format(time.RFC3339)},
		{"a callback into this machine", "Sluice-Callback", "http://127.0.0.1:9090/tasks"},
		{"a dead letter into the cluster", "Sluice-Dead-Letter", "http://10.0.0.1/"},
		{"too many tries", "Sluice-Tries", "1000"},
	} {
		response, body := s.askTask(http.MethodGet, host, "/?id=9", "Prefer", "respond-async", test.header, test.value)
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("Sluice-Reason") != "BadTask" ||
			!strings.Contains(body, test.header) {
			s.t.Errorf("%s: %s %v: %s", test.name, response.Status, response.Header, body)
		}
	}
	if response, body := s.askTask(http.MethodGet, host, "/.well-known/sluice/tasks/"); response.StatusCode != http.StatusNotFound {
		s.t.Errorf("without an ID: %s: %s", response.Status, body)
	}
}

// cancels cancels a task that runs.
func (s *instance) cancels(host string) {
	s.t.Helper()
	long := s.accepted(host, "ms=600000&id=7")
	s.endsAs(host, long.ID, "running")
	response, body := s.askTask(http.MethodDelete, host, "/.well-known/sluice/tasks/"+long.ID)
	if response.StatusCode != http.StatusOK {
		s.t.Errorf("cancelling is answered %s: %s", response.Status, body)
	}
	s.endsAs(host, long.ID, "cancelled")
}
