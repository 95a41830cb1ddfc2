package process_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

func TestReplicasServeWithTheirEnvironment(t *testing.T) {
	t.Setenv("A_SECRET_OF_OURS", "x")
	m := newMachine(t, process.Options{})
	w := app("serve", 2, "--port=$(PORT)", "$(UNKNOWN)", "$$(PORT)")
	w.Containers[0].WorkingDir = t.TempDir()
	w.Containers[0].Env = append(w.Containers[0].Env,
		model.EnvVar{Name: "WHERE", Value: "$(K_REVISION) on $(PORT)"}, model.EnvVar{Name: "PORT", Value: "1"})
	w.Containers[0].Limits = map[string]string{"memory": "1Gi", "cpu": "500m"}
	m.Run(w)
	m.Run(w) // changes nothing
	ready := m.awaitReady(2)
	ports := map[string]bool{}
	for _, e := range ready {
		_, body := ask(t, e, "/env")
		lines := map[string]bool{}
		port := ""
		for line := range strings.SplitSeq(body, "\n") {
			lines[line] = true
			if value, found := strings.CutPrefix(line, "PORT="); found {
				port = value
			}
		}
		ports[port] = true
		for _, want := range []string{
			"K_SERVICE=hello", "K_CONFIGURATION=hello", "K_REVISION=hello-00001", "WHERE=hello-00001 on " + port,
			"--port=" + port, "$(UNKNOWN)", "$(PORT)",
		} {
			if !lines[want] {
				t.Errorf("the replica lacks %q:\n%s", want, body)
			}
		}
		if strings.Contains(body, "A_SECRET_OF_OURS") {
			t.Error("the replica has a variable of our environment")
		}
	}
	if len(ports) != 2 || ports["1"] {
		t.Errorf("the replicas have the ports %v", ports)
	}
	notes := m.latest["1"].Notes
	if len(notes) != 1 || !strings.Contains(notes[0], "cpu=500m, memory=1Gi") {
		t.Errorf("notes %q", notes)
	}
}

// A folder of ours comes first where containers and their probes look for programs; this process itself does not look there.
func TestProgramsOfOursAreFoundByName(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "the-app")); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, process.Options{Bin: bin})
	w := app("serve", 1)
	w.Containers[0].Command = []string{"the-app"}
	w.Containers[0].Liveness = &model.Probe{
		Exec: []string{"sh", "-c", "command -v the-app"}, Period: 20 * time.Millisecond, FailureThreshold: 1,
	}
	m.Run(w)
	_, body := ask(t, m.awaitReady(1)[0], "/env")
	if want := "PATH=" + bin + ":" + os.Getenv("PATH") + "\n"; !strings.Contains(body+"\n", want) {
		t.Errorf("the replica lacks %q:\n%s", want, body)
	}
	if _, err := exec.LookPath("the-app"); err == nil {
		t.Error("this process finds the program too")
	}
}

func TestReplicasAreScaledAndReplaced(t *testing.T) {
	m := newMachine(t, process.Options{})
	w := app("serve", 3)
	m.Run(w)
	m.awaitReady(3)
	w.Replicas = 1
	m.Run(w)
	m.awaitReady(1)
	again := w
	again.UID = "2"
	m.Run(again)
	m.await("the old revision is gone", func(s model.WorkloadStatus) bool { return s.UID == "1" && s.Running == 0 })
	m.await("the new one is ready", func(s model.WorkloadStatus) bool { return s.UID == "2" && len(s.Ready) == 1 })
	again.Replicas = 0
	m.Run(again)
	m.await("nothing runs", func(s model.WorkloadStatus) bool { return s.UID == "2" && s.Running == 0 })
	again.Replicas = 1
	m.Run(again)
	m.awaitReady(1)
}

func TestWorkloadThatCannotRunHasAFailure(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*model.Container)
		reason string
		says   string
	}{
		"no command": {func(c *model.Container) { c.Command, c.Image = nil, "example/hello" }, "ContainerMissing",
			"One machine runs processes, not images"},
		"unknown program": {func(c *model.Container) { c.Command = []string{"no-such-program"} }, "CommandNotFound",
			`its command "no-such-program" does not exist`},
		"unknown path": {func(c *model.Container) { c.Command = []string{"/no/such/program"} }, "CommandNotFound",
			`its command "/no/such/program" does not exist`},
		"not executable": {func(c *model.Container) { c.Command = []string{plain} }, "CommandNotExecutable", "is not an executable file"},
		"no working dir": {func(c *model.Container) { c.WorkingDir = "/no/such/dir" }, "WorkingDirMissing",
			`its workingDir "/no/such/dir"`},
		"crashes":       {func(c *model.Container) { c.Env[0].Value = "crash" }, "ExitCode3", "cannot find the database"},
		"exits at once": {func(c *model.Container) { c.Env[0].Value = "exit" }, "ExitCode0", "without any output"},
		"does not start": {func(c *model.Container) {
			c.Env[0].Value = "deaf"
			c.Startup = &model.Probe{TCP: true, Period: 50 * time.Millisecond, FailureThreshold: 2}
		}, "StartupProbeFailed", "did not start within 100ms"},
		"stops being alive": {func(c *model.Container) {
			c.Liveness = &model.Probe{Exec: []string{"false"}, Period: 20 * time.Millisecond, FailureThreshold: 2}
		}, "LivenessProbeFailed", `exec probe "false"`},
		"never listens": {func(c *model.Container) { c.Env[0].Value = "deaf" }, "ProgressDeadlineExceeded", "connection refused"},
		"listens but is mute": {func(c *model.Container) {
			c.Env[0].Value = "mute"
			c.Readiness = &model.Probe{HTTP: &model.HTTPProbe{Path: "/ok"}, Timeout: 50 * time.Millisecond}
		}, "ProgressDeadlineExceeded", "HTTP probe of /ok"},
		"sidecar crashes": {func(c *model.Container) {}, "ExitCode3", `Container "sidecar"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, process.Options{})
			w := app("serve", 1)
			w.ProgressDeadline = 300 * time.Millisecond
			test.change(&w.Containers[0])
			if name == "sidecar crashes" {
				w.Containers = append(w.Containers, app("crash", 1).Containers[0])
				w.Containers[1].Name = "sidecar"
			}
			m.Run(w)
			if failure := m.awaitFailure(test.reason); !strings.Contains(failure.Message, test.says) {
				t.Errorf("the message is %q", failure.Message)
			}
		})
	}
}

func TestCrashedReplicaIsRestartedWithBackOff(t *testing.T) {
	m := newMachine(t, process.Options{})
	w := app("fickle", 1)
	lives := filepath.Join(t.TempDir(), "lives")
	w.Containers[0].Env = append(w.Containers[0].Env, model.EnvVar{Name: "LIVES", Value: lives})
	// No other process has the port, so the probe of a life that fails never succeeds.
	start := time.Now()
	m.Run(w)
	m.awaitFailure("ExitCode1")
	ready := m.awaitReady(1)
	if took := time.Since(start); took < 300*time.Millisecond { // 100 ms + 200 ms
		t.Errorf("the third life was ready after %v", took)
	}
	if s := m.latest["1"]; s.Failure != nil {
		t.Errorf("the failure is still reported: %+v", s.Failure)
	}
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/exit", ready[0].Port)) //nolint:noctx // bounded by the test
	if err == nil {
		response.Body.Close()
	}
	if failure := m.awaitFailure("ExitCode7"); !strings.Contains(failure.Message, "asked to exit") {
		t.Errorf("the message is %q", failure.Message)
	}
	m.awaitReady(1)
}

func TestReadinessIsLostAndFoundAgain(t *testing.T) {
	m := newMachine(t, process.Options{})
	w := app("serve", 1)
	up := filepath.Join(t.TempDir(), "up")
	w.Containers[0].Readiness = &model.Probe{Exec: []string{"test", "-e", up}, Period: 20 * time.Millisecond, FailureThreshold: 2}
	m.Run(w)
	m.await("it runs", func(s model.WorkloadStatus) bool { return s.Running == 1 && len(s.Ready) == 0 })
	for range 2 {
		if err := os.WriteFile(up, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		m.awaitReady(1)
		if err := os.Remove(up); err != nil {
			t.Fatal(err)
		}
		m.await("it is not ready", func(s model.WorkloadStatus) bool { return s.Running == 1 && len(s.Ready) == 0 })
	}
}

func TestOutputIsLoggedWithinItsBound(t *testing.T) {
	const limit = 256 << 10
	m := newMachine(t, process.Options{LogLimit: limit})
	m.Run(app("flood", 1))
	m.awaitReady(1)
	path := filepath.Join(m.dir, "logs", "default", "hello-00001", "0.log")
	for i := range 3 { // the log is rotated again and again
		var old os.FileInfo
		eventually(t, "there is a log", func() bool { // there is none between the renaming and the opening
			info, err := os.Stat(path)
			old = info
			return err == nil
		})
		eventually(t, fmt.Sprint("rotation ", i), func() bool {
			now, err := os.Stat(path)
			return err == nil && !os.SameFile(old, now)
		})
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) > 2 {
		t.Errorf("files %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && (info.Size() > limit || info.Mode().Perm() != 0o600) {
			t.Errorf("%s has %d bytes and mode %v", f.Name(), info.Size(), info.Mode())
		}
	}
}

func TestConcurrencyLimitHoldsAsTheApplicationSeesIt(t *testing.T) {
	m := newMachine(t, process.Options{})
	w := app("serve", 1)
	w.Concurrency = 2
	m.Run(w)
	e := m.awaitReady(1)[0]
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				if status, body := ask(t, e, "/"); status != 200 {
					t.Errorf("got %d: %s", status, body)
				}
			}
		})
	}
	all.Wait()
	if _, most := ask(t, e, "/most"); most != "2" {
		t.Errorf("the application had %s requests at a time, want 2", most)
	}
}

// TestScalingDownLosesNoRequest: the clients choose among the ready replicas, as a gateway does.
func TestScalingDownLosesNoRequest(t *testing.T) {
	m := newMachine(t, process.Options{Quiet: 200 * time.Millisecond})
	w := app("serve", 4)
	m.Run(w)
	var ready atomic.Pointer[[]model.Endpoint]
	endpoints := m.awaitReady(4)
	ready.Store(&endpoints)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var served atomic.Int64
	for i := range 8 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
			defer client.CloseIdleConnections()
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				choice := *ready.Load()
				e := choice[n%len(choice)]
				response, err := client.Get(fmt.Sprintf("http://%s:%d/", e.Host, e.Port)) //nolint:noctx // bounded by the test
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if err != nil || response.StatusCode != 200 {
					t.Errorf("got %d, %v", response.StatusCode, err)
					return
				}
				served.Add(1)
			}
		})
	}
	for _, replicas := range []int{1, 4, 2} {
		w.Replicas = replicas
		m.Run(w)
		for done := false; !done; {
			s := m.await("the next status", func(model.WorkloadStatus) bool { return true })
			select {
			case s = <-m.statuses:
				m.latest[s.UID] = s
			case <-time.After(10 * time.Millisecond):
			}
			ready.Store(&s.Ready)
			done = len(s.Ready) == replicas && s.Running == replicas
		}
		before := served.Load()
		eventually(t, "load goes on", func() bool { return served.Load() > before+100 })
	}
	close(stop)
	all.Wait()
}

// A gateway may learn late that a replica ends. It may then send requests at the end of the drain, and after it.
func TestLateRequestsMayBeSentToAnotherReplica(t *testing.T) {
	m := newMachine(t, process.Options{Quiet: time.Millisecond})
	w := app("serve", 1)
	m.Run(w)
	e := m.awaitReady(1)[0]
	var gone atomic.Bool
	var turnedAway atomic.Int64
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			for last := false; !last; time.Sleep(time.Duration(1+i) * time.Millisecond) {
				last = gone.Load()
				response, err := client.Post(fmt.Sprintf("http://%s:%d/", e.Host, e.Port), "text/plain", nil)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				switch {
				case response.StatusCode == http.StatusOK && !last:
				case response.Header.Get(contract.ReasonHeader) == contract.ReasonUnsent:
					turnedAway.Add(1)
				default:
					t.Errorf("status %d, reason %q", response.StatusCode, response.Header.Get(contract.ReasonHeader))
				}
			}
		})
	}
	w.Replicas = 0
	m.Run(w)
	m.await("nothing runs", func(s model.WorkloadStatus) bool { return s.Running == 0 })
	gone.Store(true)
	group.Wait()
	if turnedAway.Load() < 4 {
		t.Errorf("%d requests were turned away, of which 4 came after the end", turnedAway.Load())
	}
}

func TestApplicationThatIgnoresSIGTERMIsKilled(t *testing.T) {
	m := newMachine(t, process.Options{Grace: 100 * time.Millisecond})
	w := app("stuck", 1)
	m.Run(w)
	e := m.awaitReady(1)[0]
	_, pid := ask(t, e, "/pid")
	w.Replicas = 0
	m.Run(w)
	m.await("it is gone", func(s model.WorkloadStatus) bool { return s.Running == 0 })
	if n, _ := strconv.Atoi(pid); n == 0 || alive(n) {
		t.Errorf("process %q is alive", pid)
	}
}

func TestCloseIsBoundedByItsContext(t *testing.T) {
	dir := t.TempDir()
	ready := make(chan model.Endpoint, 1)
	r := process.New(process.Options{Dir: dir, Status: func(s model.WorkloadStatus) {
		if len(s.Ready) == 1 {
			ready <- s.Ready[0]
		}
	}})
	r.Run(app("stuck", 1))
	_, pid := ask(t, <-ready, "/pid")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := r.Close(ctx); !errors.Is(err, context.DeadlineExceeded) { // without a bound it waits for the end of the grace
		t.Errorf("Close: %v", err)
	}
	if n, _ := strconv.Atoi(pid); n == 0 || alive(n) {
		t.Errorf("process %q is alive", pid)
	}
}
