package feature

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/address"
)

// eventClass makes a Service's requests tasks.
const eventClass = "event.sluice.dev"

// newTasks makes a Service of the class event.sluice.dev, whose application answers 500 if it ever has two requests at a time, and writes
// to a journal which ones it has begun and ended.
func newTasks(t testing.TB, name string, most int, annotations ...string) (service *servingv1.Service, journal string) {
	t.Helper()
	journal = t.TempDir()
	all := map[string]string{autoscaling + "class": eventClass, autoscaling + "max-scale": fmt.Sprint(most)}
	for i := 0; i < len(annotations); i += 2 {
		all[annotations[i]] = annotations[i+1]
	}
	return newApp(t, name, all, "LIMIT", "1", "JOURNAL", journal), journal
}

// done is one task that was answered.
type done struct {
	process      string
	began, ended time.Time
}

// task sends one task to a host and returns what became of it.
func (s *instance) task(ctx context.Context, client *http.Client, host, query string, header ...string) (done, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.gateway+"/?"+query, nil)
	if err != nil {
		return done{}, err
	}
	request.Host = host
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return done{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d, %s: %s", response.StatusCode, response.Header.Get("Sluice-Reason"), body)
	}
	at := func(name string) time.Time {
		ns, _ := strconv.ParseInt(response.Header.Get(name), 10, 64)
		return time.Unix(0, ns)
	}
	return done{response.Header.Get("App-Process"), at("App-Began"), at("App-Ended")}, err
}

// salvoOfTasks sends n tasks of so long at once, whose ids begin with first, and returns those that were answered and how long all took.
func (s *instance) salvoOfTasks(t testing.TB, host string, first, n int, each time.Duration) (all []done, makespan time.Duration) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var sending sync.WaitGroup
	began := time.Now()
	for i := range n {
		sending.Go(func() {
			d, err := s.task(context.Background(), client, host, fmt.Sprintf("ms=%d&id=%d", each.Milliseconds(), first+i))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("task %d: %v", first+i, err)
				return
			}
			all = append(all, d)
		})
	}
	sending.Wait()
	return all, time.Since(began)
}

// idle returns how long replicas were without a task between two of theirs, sorted. The queue was not empty then, because each of these
// gaps ended with a task that had waited.
func idle(all []done) (gaps []time.Duration, processes int) {
	by := map[string][]done{}
	for _, d := range all {
		by[d.process] = append(by[d.process], d)
	}
	for _, of := range by {
		slices.SortFunc(of, func(a, b done) int { return a.began.Compare(b.began) })
		for i := 1; i < len(of); i++ {
			gaps = append(gaps, of[i].began.Sub(of[i-1].ended))
		}
	}
	slices.Sort(gaps)
	return gaps, len(by)
}

// ran reads how often each task was begun and ended, from the journals of all replicas.
func ran(t testing.TB, journal string) (begun, ended map[string]int) {
	t.Helper()
	begun, ended = map[string]int{}, map[string]int{}
	files, err := os.ReadDir(journal)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(journal, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Fields(string(text)) {
			if id, ok := strings.CutPrefix(line, "+"); ok {
				begun[id]++
			} else {
				ended[line[1:]]++
			}
		}
	}
	return begun, ended
}

// onceEach fails unless n tasks were begun once each.
func onceEach(t testing.TB, journal string, n int) {
	t.Helper()
	begun, _ := ran(t, journal)
	for i := range n {
		if times := begun[fmt.Sprint(i)]; times != 1 {
			t.Errorf("task %d was run %d times", i, times)
		}
	}
}

// taskSalvo are tasks of the same length, sent at once.
type taskSalvo struct {
	tasks, replicas int
	each, took      time.Duration
}

// tell prints how a salvo went, beside the ideal.
func tell(t testing.TB, what string, all []done, s taskSalvo) {
	t.Helper()
	gaps, processes := idle(all)
	ideal := s.each * time.Duration((s.tasks+s.replicas-1)/s.replicas)
	p99 := time.Duration(0)
	if len(gaps) > 0 {
		p99 = gaps[len(gaps)*99/100]
	}
	t.Logf("%s: %d tasks of %v by up to %d replicas took %v, ideal %v; %d replicas; idle while tasks wait %v p99",
		what, s.tasks, s.each, s.replicas, s.took.Round(time.Millisecond), ideal, processes, p99)
}

// sized is how many tasks and replicas a salvo has: fewer of them where CI measures nothing.
func sized(t testing.TB) (tasks, replicas int) {
	t.Helper()
	text := os.Getenv("SLUICE_TASKS") // such as 1000/50
	if _, err := fmt.Sscanf(text, "%d/%d", &tasks, &replicas); text != "" && err != nil {
		t.Fatalf("SLUICE_TASKS is %q, want TASKS/REPLICAS such as 1000/50", text)
	}
	if text == "" {
		return 300, 10
	}
	return tasks, replicas
}

// TestEachTaskHasAReplicaOfItsOwn sends more tasks than there may be replicas, from zero and again while the replicas are there.
func TestEachTaskHasAReplicaOfItsOwn(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		n, replicas := sized(t)
		s := g.up(t, "--config", zeroInitialScale(t))
		service, journal := newTasks(t, "work", replicas, autoscaling+"initial-scale", "0")
		s.create(service)
		s.scaledTo("work-00001", 0)
		const each = 100 * time.Millisecond
		all, took := s.salvoOfTasks(t, "work.default.localhost", 0, n, each)
		tell(t, "from zero", all, taskSalvo{n, replicas, each, took})
		onceEach(t, journal, n)
		if why := s.revision("work-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]; why == "" {
			t.Error("the revision does not say why it was scaled")
		}
		all, took = s.salvoOfTasks(t, "work.default.localhost", n, n, each)
		tell(t, "warm", all, taskSalvo{n, replicas, each, took})
		onceEach(t, journal, 2*n)
		s.scaledTo("work-00001", 0)
	})
}

// TestTheExampleOfTasks runs examples/event.
func TestTheExampleOfTasks(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t, "-f", absolute(t, "examples/event"))
		s.ready("render")
		status, body, err := s.get("render.default.localhost", "/")
		if err != nil || status != 200 {
			t.Errorf("a task gets status %d, %v: %s", status, err, body)
		}
	})
}

// TestReplicasEqualTheTasks holds tasks, and ends them one by one.
func TestReplicasEqualTheTasks(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t, "--config", zeroInitialScale(t))
		service, journal := newTasks(t, "work", 20, autoscaling+"initial-scale", "0", "sluice.dev/event-idle-seconds", "1")
		s.create(service)
		dir := t.TempDir()
		var tasks sync.WaitGroup
		file := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
		for i := range 5 {
			tasks.Go(func() {
				_, err := s.task(context.Background(), http.DefaultClient, "work.default.localhost", fmt.Sprintf("id=%d&until=%s", i, file(i)))
				if err != nil {
					t.Errorf("task %d: %v", i, err)
				}
			})
		}
		s.scaledTo("work-00001", 5)
		why := s.revision("work-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]
		if !strings.Contains(why, "tasks asks for") {
			t.Errorf("the why is %q", why)
		}
		for i := range 3 {
			touch(t, file(i))
		}
		s.scaledTo("work-00001", 2) // and those that run are not among the three that end
		if n := len(s.replicas()); n != 2 {
			eventually(t, "the idle replicas have ended", func() error {
				if n := len(s.replicas()); n != 2 {
					return fmt.Errorf("%d run", n)
				}
				return nil
			})
		}
		if _, ended := ran(t, journal); len(ended) != 3 {
			t.Errorf("%d tasks have ended, want 3", len(ended))
		}
		touch(t, file(3))
		touch(t, file(4))
		tasks.Wait()
		s.scaledTo("work-00001", 0)
		onceEach(t, journal, 5)
	})
}

// TestKilledReplicasRunNoTaskTwice kills the replicas of running tasks: those may fail, and all others run once.
func TestKilledReplicasRunNoTaskTwice(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		service, journal := newTasks(t, "work", 5)
		s.create(service)
		const n = 60
		failed := make([]error, n)
		var sending sync.WaitGroup
		for i := range n {
			sending.Go(func() {
				_, failed[i] = s.task(context.Background(), http.DefaultClient, "work.default.localhost", fmt.Sprintf("ms=200&id=%d", i))
			})
		}
		for _, begun := range []int{10, 25} {
			eventually(t, "tasks run", func() error {
				if all, _ := ran(t, journal); len(all) < begun {
					return fmt.Errorf("%d have begun", len(all))
				}
				return nil
			})
			for _, pid := range s.replicas() {
				_ = syscall.Kill(pid, syscall.SIGKILL) // one may have ended before
			}
		}
		sending.Wait()
		begun, ended := ran(t, journal)
		cut := 0
		for i, err := range failed {
			id := fmt.Sprint(i)
			if err != nil {
				cut++
			}
			if begun[id] > 1 || err == nil && (begun[id] != 1 || ended[id] != 1) {
				t.Errorf("task %d was begun %d times and has ended %d times: %v", i, begun[id], ended[id], err)
			}
		}
		t.Logf("%d of %d tasks were cut off with their replicas, or sent to one that had just been killed", cut, n)
	})
}

// TestLongTaskOutlivesItsRevision begins a task and rolls out another revision while it runs.
func TestLongTaskOutlivesItsRevision(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		service, journal := newTasks(t, "work", 5, "sluice.dev/event-idle-seconds", "0")
		s.create(service)
		release := filepath.Join(t.TempDir(), "release")
		ended := make(chan error, 1)
		go func() {
			_, err := s.task(context.Background(), http.DefaultClient, "work.default.localhost", "id=0&until="+release)
			ended <- err
		}()
		eventually(t, "the task runs", func() error {
			if begun, _ := ran(t, journal); begun["0"] != 1 {
				return fmt.Errorf("begun: %v", begun)
			}
			return nil
		})
		s.change("work", func(o *servingv1.Service) {
			c := &o.Spec.Template.Spec.Containers[0]
			c.Env = append(c.Env, servingv1.EnvVar{Name: "NEXT", Value: "yes"})
		})
		s.ready("work")
		d, err := s.task(context.Background(), http.DefaultClient, "work.default.localhost", "id=1")
		if err != nil {
			t.Errorf("a task of the next revision: %v", err)
		}
		select {
		case err := <-ended:
			t.Fatalf("the task has ended before it was released: %v", err)
		default:
		}
		touch(t, release)
		if err := <-ended; err != nil {
			t.Errorf("the long task: %v", err)
		}
		s.scaledTo("work-00001", 0)
		_ = d
		onceEach(t, journal, 2)
	})
}

// TestTermsOfTasks checks deadlines, priorities and the end of a client against one replica that is busy.
func TestTermsOfTasks(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		service, journal := newTasks(t, "work", 1, "sluice.dev/event-max-waiting", "3")
		s.create(service)
		const host = "work.default.localhost"
		if _, err := s.task(t.Context(), http.DefaultClient, host, "id=warm"); err != nil {
			t.Fatal(err)
		}
		refused := func(want string, header ...string) {
			t.Helper()
			if _, err := s.task(t.Context(), http.DefaultClient, host, "id=refused", header...); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v, want %s", header, err, want)
			}
		}
		refused("status 400, BadTask", "Sluice-Deadline", time.Now().Add(-time.Minute).Format(time.RFC3339))
		refused("status 400, BadTask", "Sluice-Deadline", "soon")
		refused("status 400, BadTask", "Sluice-Priority", "urgent")
		release := filepath.Join(t.TempDir(), "release")
		var tasks sync.WaitGroup
		send := func(ctx context.Context, id, query string, waiting int, header ...string) {
			t.Helper()
			tasks.Go(func() {
				_, err := s.task(ctx, http.DefaultClient, host, "id="+id+query, header...)
				if (err == nil) != (ctx.Err() == nil) {
					t.Errorf("task %s: %v", id, err)
				}
			})
			s.depth(waiting)
		}
		send(t.Context(), "first", "&until="+release, 0)
		eventually(t, "the first one runs", func() error {
			if begun, _ := ran(t, journal); begun["first"] != 1 {
				return fmt.Errorf("begun: %v", begun)
			}
			return nil
		})
		refused("status 504, DeadlineExceeded", "Sluice-Deadline", time.Now().Add(2*time.Second).UTC().Format(time.RFC3339Nano))
		gone, leave := context.WithCancel(t.Context())
		send(gone, "gone", "", 1)
		leave()
		s.depth(0)
		send(t.Context(), "low", "", 1, "Sluice-Priority", "low")
		send(t.Context(), "normal", "", 2)
		send(t.Context(), "high", "", 3, "Sluice-Priority", "high")
		refused("status 429, QueueFull")
		touch(t, release)
		tasks.Wait()
		if diff := s.order(journal); diff != "warm first high normal low" {
			t.Errorf("the order is %q", diff)
		}
	})
}

// depth waits until so many tasks wait.
func (s *instance) depth(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d tasks wait", n), func() error {
		_, body, err := read(http.DefaultClient, "http://"+s.admin+"/metrics")
		if err != nil {
			return err
		}
		for line := range strings.Lines(body) {
			if f := strings.Fields(line); len(f) == 2 && strings.HasPrefix(line, "sluice_activator_queue_depth{") {
				if f[1] == fmt.Sprint(n) {
					return nil
				}
				return fmt.Errorf("%s wait", f[1])
			}
		}
		if n == 0 {
			return nil
		}
		return fmt.Errorf("no depth is shown")
	})
}

// order returns the tasks in the order in which the one replica began them.
func (s *instance) order(journal string) string {
	s.t.Helper()
	var all []string
	files, err := filepath.Glob(filepath.Join(journal, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.FieldsSeq(string(text)) {
			if id, ok := strings.CutPrefix(line, "+"); ok {
				all = append(all, id)
			}
		}
	}
	return strings.Join(all, " ")
}

// TestTasksThroughThreeActivators sends tasks by several activators, ends the owner in between, and kills another owner.
func TestTasksThroughThreeActivators(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t, "--activator", "none", "--config", zeroInitialScale(t))
		activators := map[string]*part{}
		for range 3 {
			at := address.Free(t)
			activators[at] = startActivator(t, s.socket(), at, "--node-id", "activator-"+at).ready()
		}
		const n, replicas, each = 150, 10, 100 * time.Millisecond
		service, journal := newTasks(t, "work", replicas, autoscaling+"initial-scale", "0")
		s.create(service)
		all, took := s.salvoOfTasks(t, "work.default.localhost", 0, n, each)
		tell(t, "three activators", all, taskSalvo{n, replicas, each, took})
		onceEach(t, journal, n)

		// A change of the owner, which drains: what waits there goes on.
		owner := s.ownerOf(t, activators)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
		defer client.CloseIdleConnections()
		var sending sync.WaitGroup
		for i := range n {
			sending.Go(func() {
				if _, err := s.task(context.Background(), client, "work.default.localhost", fmt.Sprintf("ms=200&id=%d", n+i)); err != nil {
					t.Errorf("task %d during a change of the owner: %v", n+i, err)
				}
			})
		}
		eventually(t, "tasks run", func() error {
			if begun, _ := ran(t, journal); len(begun) < n+20 {
				return fmt.Errorf("%d", len(begun))
			}
			return nil
		})
		activators[owner].end(syscall.SIGTERM)
		delete(activators, owner)
		sending.Wait()
		onceEach(t, journal, 2*n)

		// SIGKILL of the owner: its clients get errors, and no task runs twice, since none is sent again.
		var failed sync.Map
		for i := range n {
			sending.Go(func() {
				if _, err := s.task(context.Background(), client, "work.default.localhost", fmt.Sprintf("ms=200&id=%d", 2*n+i)); err != nil {
					failed.Store(fmt.Sprint(2*n+i), err)
				}
			})
		}
		eventually(t, "tasks run again", func() error {
			if begun, _ := ran(t, journal); len(begun) < 2*n+20 {
				return fmt.Errorf("%d", len(begun))
			}
			return nil
		})
		owner = s.ownerOf(t, activators)
		activators[owner].end(syscall.SIGKILL)
		sending.Wait()
		begun, _ := ran(t, journal)
		twice, never, cut := 0, 0, 0
		for i := 2 * n; i < 3*n; i++ {
			id := fmt.Sprint(i)
			_, bad := failed.Load(id)
			switch times := begun[id]; {
			case times > 1:
				twice++
			case times == 0 && !bad:
				never++
			case bad:
				cut++
			}
		}
		if twice > 0 || never > 0 {
			t.Errorf("%d tasks ran twice, and %d were answered and have not run", twice, never)
		}
		t.Logf("after SIGKILL of the owner %d of %d clients got an error", cut, n)
		if _, err := s.task(t.Context(), client, "work.default.localhost", "id=last"); err != nil {
			t.Errorf("the last activator: %v", err)
		}
	})
}

// ownerOf returns the address of the activator that runs most of the tasks.
func (s *instance) ownerOf(t testing.TB, activators map[string]*part) (owner string) {
	t.Helper()
	most := -1.
	for at, p := range activators {
		body, err := p.read(t.Context(), "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(body) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "sluice_activator_dispatched_total" {
				if v, _ := strconv.ParseFloat(f[1], 64); v > most {
					owner, most = at, v
				}
			}
		}
	}
	return owner
}
