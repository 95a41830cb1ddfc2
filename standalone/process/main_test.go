package process_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

// modeVariable makes the test binary act as one of the applications below instead of running tests.
const modeVariable = "PROCESS_TEST_APP"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		applications[mode]()
		return
	}
	os.Exit(m.Run())
}

var applications = map[string]func(){
	"serve":  serveApp,
	"crash":  func() { fmt.Println("first line"); fmt.Fprintln(os.Stderr, "cannot find the database"); os.Exit(3) },
	"exit":   func() {},
	"mute":   muteApp,
	"deaf":   func() { time.Sleep(time.Hour) },
	"flood":  func() { go flood(); serveApp() },
	"stuck":  func() { signal.Ignore(syscall.SIGTERM); go serveApp(); time.Sleep(time.Hour) },
	"fickle": fickleApp,
	"family": familyApp,
	"parent": parentApp,
	"daemon": func() { daemon(); serveApp() },
	"escape": escapeApp,
	"burn":   func() { os.Setenv("BURN", "1"); daemon(); serveApp() },
	"hang":   func() { daemon(); time.Sleep(time.Hour) },
}

// serveApp counts how many requests it has at a time, and ends gracefully on SIGTERM.
func serveApp() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var running, most atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/most", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, most.Load()) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Join(append(os.Environ(), os.Args[1:]...), "\n"))
	})
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { fmt.Println("asked to exit"); os.Exit(7) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		now := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		fmt.Fprint(w, "served")
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Println(err)
		os.Exit(1)
	}
}

// muteApp accepts connections and never answers.
func muteApp() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
}

func flood() {
	line := bytes.Repeat([]byte("x"), 1023)
	line = append(line, '\n')
	for {
		_, _ = os.Stdout.Write(line)
	}
}

// fickleApp fails the first two times: each life appends a byte to a file.
func fickleApp() {
	file, err := os.OpenFile(os.Getenv("LIVES"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(2)
	}
	_, _ = file.WriteString("x")
	if info, err := file.Stat(); err != nil || info.Size() < 3 {
		os.Exit(1)
	}
	serveApp()
}

// familyApp starts a child that gets no parent-death signal, and writes its pid to a file.
func familyApp() {
	child := exec.Command("sleep", "3600")
	if err := child.Start(); err != nil {
		os.Exit(2)
	}
	if err := os.WriteFile(os.Getenv("CHILD"), fmt.Append(nil, child.Process.Pid), 0o600); err != nil {
		os.Exit(2)
	}
	serveApp()
}

// daemon starts a process with its own session and environment, as daemons do, and writes the pid to a file. It waits until the Runtime
// has marked this process with a limit (RLIMIT_LOCKS is 10): a process without an environment that was started before that is not known.
func daemon() {
	for l := (syscall.Rlimit{}); syscall.Getrlimit(10, &l) == nil && l.Max == math.MaxUint64; {
		time.Sleep(time.Millisecond)
	}
	between := exec.Command(os.Args[0])
	between.Env = append(os.Environ(), modeVariable+"=escape")
	if err := between.Run(); err != nil {
		os.Exit(2)
	}
}

// escapeApp is the process in between, which ends.
func escapeApp() {
	child := exec.Command("sleep", cmp.Or(os.Getenv("SECONDS"), "3600"))
	if os.Getenv("BURN") != "" {
		child = exec.Command("sh", "-c", "while :; do :; done")
	}
	child.Env, child.SysProcAttr = []string{}, ownSession()
	if err := child.Start(); err != nil {
		os.Exit(2)
	}
	if err := os.WriteFile(os.Getenv("CHILD"), fmt.Append(nil, child.Process.Pid), 0o600); err != nil {
		os.Exit(2)
	}
}

// parentApp runs a replica with a child until it is killed, as `sluice up` would.
func parentApp() {
	runtime := process.New(process.Options{Dir: os.Getenv("DIR"), Status: func(s model.WorkloadStatus) {
		if len(s.Ready) == 1 {
			fmt.Println("ready")
		}
	}})
	w := app(cmp.Or(os.Getenv("FAMILY"), "family"), 1)
	w.Containers[0].Env = append(w.Containers[0].Env, model.EnvVar{Name: "CHILD", Value: os.Getenv("CHILD")})
	if os.Getenv("FAMILY") == "probe" {
		w.Containers[0].Env[0].Value = "serve"
		const recorded = `until test -s "$DIR/processes/$$$$.json"; do sleep 0.01; done; ` // before that a daemon would escape
		hang := []string{"sh", "-c", recorded + modeVariable + `=hang exec "$0"`, os.Args[0]}
		w.Containers[0].Readiness = &model.Probe{Exec: hang, Timeout: time.Hour}
		w.Containers[0].Env = append(w.Containers[0].Env, model.EnvVar{Name: "DIR", Value: os.Getenv("DIR")})
	}
	runtime.Run(w)
	select {}
}

// app is a workload whose container is this test binary in the given mode.
func app(mode string, replicas int, args ...string) model.Workload {
	return model.Workload{
		Revision: model.Key{Namespace: "default", Name: "hello-00001"}, UID: "1", Service: "hello", Configuration: "hello",
		Replicas: replicas,
		Containers: []model.Container{{
			Name: "app", Command: []string{os.Args[0]}, Args: args, Port: 8080,
			Env:       []model.EnvVar{{Name: modeVariable, Value: mode}},
			Readiness: &model.Probe{TCP: true},
		}},
	}
}

// machine is a Runtime and the statuses that it has reported.
type machine struct {
	*process.Runtime
	t        testing.TB
	dir      string
	statuses chan model.WorkloadStatus
	latest   map[string]model.WorkloadStatus // by UID
}

func newMachine(t testing.TB, opts process.Options) *machine {
	t.Helper()
	m := &machine{t: t, statuses: make(chan model.WorkloadStatus, 1000), latest: map[string]model.WorkloadStatus{}}
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	m.dir = opts.Dir
	if opts.Quiet == 0 {
		opts.Quiet = 50 * time.Millisecond
	}
	opts.Status = func(s model.WorkloadStatus) { m.statuses <- s }
	m.Runtime = process.New(opts)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if left, _ := os.ReadDir(m.dir + "/processes"); len(left) > 0 {
			t.Errorf("%d records of processes are left", len(left))
		}
	})
	return m
}

// await returns the first status, from the latest one on, for which the condition holds.
func (m *machine) await(what string, condition func(model.WorkloadStatus) bool) model.WorkloadStatus {
	m.t.Helper()
	for _, s := range m.latest {
		if condition(s) {
			return s
		}
	}
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case s := <-m.statuses:
			m.latest[s.UID] = s
			if condition(s) {
				return s
			}
		case <-timeout:
			m.t.Fatalf("not within two minutes: %s; the statuses are %+v", what, m.latest)
		}
	}
}

func (m *machine) awaitReady(replicas int) []model.Endpoint {
	m.t.Helper()
	return m.await(fmt.Sprint(replicas, " replicas are ready"), func(s model.WorkloadStatus) bool {
		return len(s.Ready) == replicas && s.Running == replicas
	}).Ready
}

func (m *machine) awaitFailure(reason string) model.Failure {
	m.t.Helper()
	return *m.await("failure "+reason, func(s model.WorkloadStatus) bool {
		return s.Failure != nil && s.Failure.Reason == reason
	}).Failure
}

// ask sends a GET to a replica's queue-proxy.
func ask(t testing.TB, e model.Endpoint, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get(fmt.Sprintf("http://%s:%d%s", e.Host, e.Port, path)) //nolint:noctx // bounded by the test
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// alive reports whether a process runs and is not a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return fields[0] != "Z" && fields[0] != "X"
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// startParent starts parentApp in a process of its own and returns when its replica is ready.
func startParent(t *testing.T, dir, childFile string) *exec.Cmd {
	t.Helper()
	parent := exec.Command(os.Args[0])
	parent.Env = append(slices.Clone(os.Environ()), modeVariable+"=parent", "DIR="+dir, "CHILD="+childFile)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parent.Process.Kill(); _ = parent.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the parent said %q, %v", line, err)
	}
	return parent
}
