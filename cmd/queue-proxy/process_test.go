package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// build returns the path of the program, which it builds once for all tests.
var build = sync.OnceValues(func() (string, error) {
	directory, err := os.MkdirTemp("", "queue-proxy")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(directory, "queue-proxy")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// process is a running queue-proxy.
type process struct {
	*exec.Cmd
	url, admin, metrics string
	exited              chan struct{}
	log                 *strings.Builder // complete when it has exited
}

// start runs the program before an application and returns when it serves.
func start(t testing.TB, app string, changes ...string) *process {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(app)
	values := append([]string{
		"QUEUE_SERVING_PORT", "0", "SLUICE_ADMIN_PORT", "0", "SLUICE_METRICS_PORT", "0", "SLUICE_LISTEN_HOST", "127.0.0.1",
		"USER_PORT", port, "CONTAINER_CONCURRENCY", "0", "REVISION_TIMEOUT_SECONDS", "300", "SLUICE_DRAIN_QUIET_SECONDS", "0.3",
	}, changes...)
	p := &process{Cmd: exec.Command(binary), exited: make(chan struct{}), log: &strings.Builder{}}
	for i := 0; i < len(values); i += 2 {
		p.Env = append(p.Env, values[i]+"="+values[i+1])
	}
	p.Stdout = p.log
	pipe, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan map[string]any, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			line := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line["@message"] == "serving" {
				serving <- line
			} else {
				t.Logf("queue-proxy: %s", lines.Text())
			}
		}
	}()
	go func() {
		<-read
		_ = p.Wait() // ProcessState says how it ended
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it has ended when all went well
		<-p.exited
	})
	select {
	case line := <-serving:
		p.url, p.admin, p.metrics = fmt.Sprint("http://", line["address"]), fmt.Sprint("http://", line["admin"]),
			fmt.Sprint("http://", line["metrics"])
	case <-time.After(2 * time.Minute):
		t.Fatal("queue-proxy does not serve after two minutes")
	}
	return p
}

func (p *process) terminate(t testing.TB) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// ended waits until the process has ended and returns its exit status.
func (p *process) ended(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.ProcessState.ExitCode()
	case <-time.After(2 * time.Minute):
		t.Fatal("queue-proxy has not ended after two minutes")
		return -1
	}
}

// get returns the status and the body, headers being given as name, value, name, value…
func get(t testing.TB, url string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
		return 0, ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
	}
	return response.StatusCode, string(body)
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func application(t testing.TB, ready *atomic.Bool) string {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" && !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		time.Sleep(time.Millisecond)
		fmt.Fprint(w, "hello from "+r.URL.Path)
	}))
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

func TestSidecarServesProbesAndMetrics(t *testing.T) {
	var ready atomic.Bool
	p := start(t, application(t, &ready), "SERVING_ENABLE_REQUEST_LOG", "true", "SERVING_REVISION", "hello-00001",
		"SERVING_READINESS_PROBE", `{"httpGet":{"path":"/ready"},"periodSeconds":1}`)
	if status, _ := get(t, p.admin+"/ready"); status != 503 {
		t.Errorf("before the application is ready a probe gets %d, want 503", status)
	}
	ready.Store(true)
	if status, body := get(t, p.admin+"/ready"); status != 200 || body != "ok" {
		t.Errorf("a probe gets %d %q, want 200 ok", status, body)
	}
	if status, body := get(t, p.url+"/a?b=c", "K-Network-Probe", "queue", "User-Agent", "kube-probe/1.37"); status != 200 ||
		body != "hello from /a" {
		t.Errorf("a request gets %d %q", status, body)
	}
	if status, body := get(t, p.admin+"/healthz"); status != 200 || body != "ok" {
		t.Errorf("healthz: %d %q", status, body)
	}
	if status, _ := get(t, p.admin+"/other"); status != 404 {
		t.Errorf("another path of the admin port: %d, want 404", status)
	}
	eventually(t, "the request is counted", func() bool {
		status, page := get(t, p.metrics+"/metrics")
		return status == 200 && strings.Contains(page, "\nsluice_queue_requests_total 1\n") &&
			strings.Contains(page, "\nsluice_queue_in_flight 0\n")
	})
	p.terminate(t)
	if status := p.ended(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	for _, want := range []string{`"path":"/a"`, `"status":200`, `"labels":{"revision":"hello-00001"}`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the request log lacks %s: %s", want, p.log)
		}
	}
}

// Probes fail at once. Clients learn of it a little later and lose no request.
func TestSIGTERMUnderLoadLosesNothing(t *testing.T) {
	var ready atomic.Bool
	p := start(t, application(t, &ready), "CONTAINER_CONCURRENCY", "4")
	var left atomic.Bool
	var answered atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for !left.Load() && !t.Failed() {
				if status, _ := get(t, p.url); status != 200 {
					t.Errorf("a request got %d", status)
				}
				answered.Add(1)
			}
		})
	}
	eventually(t, "there is load", func() bool { return answered.Load() > 200 })
	p.terminate(t)
	eventually(t, "probes fail", func() bool {
		status, _ := get(t, p.admin+"/ready")
		return status == 503
	})
	before := answered.Load()
	eventually(t, "requests are served", func() bool { return answered.Load() > before+200 })
	left.Store(true)
	clients.Wait()
	if status := p.ended(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
	t.Logf("%d requests", answered.Load())
}

func TestDrainOfAContainerAlone(t *testing.T) {
	var ready atomic.Bool
	p := start(t, application(t, &ready), "SLUICE_DRAIN_QUIET_SECONDS", "0.1")
	probe := func() int { status, _ := get(t, p.admin+"/ready"); return status }
	if probe() != 200 {
		t.Error("not ready at first")
	}
	if status, _ := get(t, p.admin+"/wait-for-drain"); status != 200 {
		t.Errorf("wait-for-drain: %d", status)
	}
	if status, _ := get(t, p.admin+"/healthz"); status != 503 || probe() != 503 {
		t.Error("ready while it drains")
	}
	// Without a SIGTERM only the container has restarted.
	eventually(t, "it is ready again", func() bool { return probe() == 200 })
	// A SIGTERM joins the drain that the container asked for.
	if status, _ := get(t, p.admin+"/wait-for-drain"); status != 200 {
		t.Errorf("wait-for-drain: %d", status)
	}
	p.terminate(t)
	if status := p.ended(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

func TestDrainThatTakesTooLongFails(t *testing.T) {
	finish := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-finish }))
	defer app.Close()
	defer close(finish)
	p := start(t, app.Listener.Addr().String(), "SLUICE_DRAIN_LONGEST_SECONDS", "0.2")
	cut := make(chan int, 1)
	go func() { status, _ := get(t, p.url); cut <- status }()
	eventually(t, "it is in flight", func() bool {
		_, page := get(t, p.metrics+"/metrics")
		return strings.Contains(page, "\nsluice_queue_in_flight 1\n")
	})
	p.terminate(t)
	if status := <-cut; status != 503 {
		t.Errorf("the request got %d, want 503", status)
	}
	if status := p.ended(t); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
}

func TestWrongUseExitsWithStatus2(t *testing.T) {
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
		code int
	}{
		"no environment": {nil, "USER_PORT must be set", 2},
		"an argument":    {[]string{"--port=1"}, "takes no arguments", 2},
		"help":           {[]string{"--help"}, "CONTAINER_CONCURRENCY", 0},
	} {
		command := exec.Command(binary, test.args...)
		command.Env = []string{"PATH=/"}
		out, err := command.CombinedOutput()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != test.code || !strings.Contains(string(out), test.want) {
			t.Errorf("%s: exit status %d, want %d; %s", name, code, test.code, out)
		}
	}
}

func TestPortThatIsTakenIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary)
	command.Env = []string{"QUEUE_SERVING_PORT=0", "SLUICE_ADMIN_PORT=0", "SLUICE_LISTEN_HOST=127.0.0.1", "USER_PORT=1",
		"CONTAINER_CONCURRENCY=0",
		"REVISION_TIMEOUT_SECONDS=0", "SLUICE_METRICS_PORT=" + strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)}
	out, err := command.CombinedOutput()
	if err == nil || !strings.Contains(string(out), taken.Addr().String()) || !strings.Contains(string(out), "address already in use") {
		t.Errorf("%v: %s", err, out)
	}
}

// BenchmarkMemory reports the resident memory of the process at rest, with 1,000 idle connections, and with a request
// in flight on each of them.
func BenchmarkMemory(b *testing.B) {
	const connections = 1000
	release := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-release
		}
	}))
	defer app.Close()
	p := start(b, app.Listener.Addr().String())
	for b.Loop() { // one round is enough to measure memory
	}
	b.ReportMetric(resident(b, p), "MiB-at-rest")
	conns := make([]net.Conn, connections)
	for i := range conns {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		ask(b, conn, "/")
		if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || response.StatusCode != 200 {
			b.Fatalf("%v, %v", response, err)
		}
		conns[i] = conn
	}
	b.ReportMetric(resident(b, p), "MiB-1000-idle")
	for _, conn := range conns {
		ask(b, conn, "/hold")
	}
	eventually(b, "all are in flight", func() bool {
		_, page := get(b, p.metrics+"/metrics")
		return strings.Contains(page, fmt.Sprintf("\nsluice_queue_in_flight %d\n", connections))
	})
	b.ReportMetric(resident(b, p), "MiB-1000-in-flight")
	close(release)
}

func ask(b *testing.B, conn net.Conn, path string) {
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
}

// resident is the resident memory in MiB, on systems that have it in /proc, as Linux does.
func resident(b *testing.B, p *process) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		b.Skip("no /proc: the resident memory cannot be measured here")
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}
