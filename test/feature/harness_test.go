package feature

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/test/plane"
)

// sluiceBinary is the binary under test, built once.
var sluiceBinary string

// repository is the root of the sources.
const repository = "../.."

// atOnce is how many tests run at a time unless -parallel says otherwise. It does not depend on the number of cores: the tests mostly wait.
const atOnce = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(atOnce)
	}
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "sluice-feature-")
	if err != nil {
		panic(err)
	}
	sluiceBinary = filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-o", sluiceBinary, "sluice.dev/sluice/cmd/sluice")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building sluice:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// instance is one run of `sluice up`.
type instance struct {
	client.Client
	t       testing.TB
	dir     string // working directory; the data directory is dir/.sluice
	gateway string // host:port
	admin   string
	xds     string // address for gRPC clients; with certificates, for all clients
	local   string
	envoy   bool // whether its gateway is an Envoy
	flags   []string
	env     []string // for kubectl, beside the environment of the test
	config  *rest.Config
	run     func(dir string, output io.WriteCloser, args []string) (program, error)
	process *os.Process // nil if it runs in the process of the test
	program program
	exited  chan struct{} // closed when it has ended
	code    int           // exit code; set before exited is closed

	mu     sync.Mutex
	output bytes.Buffer
	lines  chan struct{} // holds a token when there is new output
}

// start starts it and waits until it is ready. It may be called again after stop or kill.
func (s *instance) start() {
	s.t.Helper()
	s.launch()
	s.waitFor("sluice is ready")
	s.Client, s.config = plane.Connect(s.t, s.kubeconfig())
}

func (s *instance) launch() {
	s.t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	running, err := s.run(s.dir, writer, s.flags)
	if err != nil {
		s.t.Fatal(err)
	}
	s.program, s.exited, s.lines = running, make(chan struct{}), make(chan struct{}, 1)
	if b, isBinary := running.(binary); isBinary {
		s.process = b.Process
	}
	s.output.Reset()
	exited := s.exited
	go s.read(reader)
	go func() {
		s.code = running.wait()
		close(exited)
	}()
}

// binary is the binary under test.
type binary struct{ *exec.Cmd }

// runBinary runs the binary in a folder, and closes the output when that ends.
func runBinary(dir string, output io.WriteCloser, args []string) (program, error) {
	defer output.Close() // the process has its own
	cmd := exec.Command(sluiceBinary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	return binary{cmd}, cmd.Start()
}

func (b binary) Signal(signal os.Signal) error { return b.Process.Signal(signal) }

func (b binary) wait() int {
	_ = b.Wait() // the exit code says more
	return b.ProcessState.ExitCode()
}

func (s *instance) read(from *os.File) {
	defer from.Close()
	for scanner := bufio.NewScanner(from); scanner.Scan(); {
		s.mu.Lock()
		s.output.Write(scanner.Bytes())
		s.output.WriteByte('\n')
		s.mu.Unlock()
		select {
		case s.lines <- struct{}{}:
		default:
		}
	}
}

// printed is everything that the process has written.
func (s *instance) printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// waitFor waits until the process has printed a text.
func (s *instance) waitFor(text string) {
	s.t.Helper()
	deadline := time.After(patience)
	for !strings.Contains(s.printed(), text) {
		select {
		case <-s.lines:
		case <-s.exited:
			s.t.Fatalf("sluice ended before it printed %q:\n%s", text, s.printed())
		case <-deadline:
			s.t.Fatalf("sluice did not print %q within %v:\n%s", text, patience, s.printed())
		}
	}
}

// stop ends the process by SIGTERM and returns its exit code.
func (s *instance) stop() int {
	s.t.Helper()
	select {
	case <-s.exited:
		if s.t.Failed() {
			s.t.Logf("sluice has ended before with exit code %d:\n%s", s.code, s.printed())
		}
		return s.code
	default:
	}
	stats := s.envoyStats()
	_ = s.program.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(2 * time.Minute):
		_ = s.program.Signal(syscall.SIGQUIT) // for the stacks of all goroutines
		<-s.exited
		s.t.Errorf("sluice did not end within two minutes of SIGTERM:\n%s", s.printed())
	}
	s.contented(stats)
	if s.t.Failed() {
		s.t.Logf("output of sluice:\n%s", s.printed())
	}
	return s.code
}

// kill ends the process by SIGKILL.
func (s *instance) kill() {
	stats := s.envoyStats()
	_ = s.program.Signal(syscall.SIGKILL)
	<-s.exited
	s.contented(stats)
}

// envoyStats returns the statistics of the instance's Envoy; empty if there is none or it does not answer.
func (s *instance) envoyStats() string {
	if !s.envoy {
		return ""
	}
	transport := envoy.AdminTransport("unix:" + filepath.Join(s.dir, ".sluice", "run", "envoy.sock"))
	defer transport.CloseIdleConnections()
	_, stats, _ := read(&http.Client{Transport: transport}, "http://localhost/stats")
	return stats
}

// contented fails the test if the instance's Envoy has complained since the last start.
func (s *instance) contented(stats string) {
	s.t.Helper()
	if s.envoy {
		file, _ := os.ReadFile(filepath.Join(s.dir, ".sluice", "envoy.log")) // what Envoy logs below the level of a warning
		contented(s.t, s.printed()+"\n"+string(file), stats)
	}
}

// socket is the address of the xDS server for clients of any role.
func (s *instance) socket() string {
	return "unix:" + filepath.Join(s.dir, ".sluice", "run", "xds.sock")
}

func (s *instance) kubeconfig() string { return filepath.Join(s.dir, ".sluice", "kubeconfig") }

// configFile writes a configuration of the autoscaler, for --config.
func configFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// buildApp builds testdata/app once, beside the binary under test.
var buildApp = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(sluiceBinary), "app")
	if out, err := exec.Command("go", "build", "-o", path, "./testdata/app").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building testdata/app: %w: %s", err, out)
	}
	return path, nil
})

// touch makes a file that an application waits for.
func touch(t testing.TB, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newApp makes a Service of testdata/app with annotations of its template. The environment is KEY, VALUE, KEY, VALUE…
func newApp(t testing.TB, name string, annotations map[string]string, environment ...string) *servingv1.Service {
	t.Helper()
	path, err := buildApp()
	if err != nil {
		t.Fatal(err)
	}
	o := newService(name, path)
	o.Spec.Template.Metadata.Annotations = annotations
	for i := 0; i < len(environment); i += 2 {
		c := &o.Spec.Template.Spec.Containers[0]
		c.Env = append(c.Env, servingv1.EnvVar{Name: environment[i], Value: environment[i+1]})
	}
	return o
}

// create makes Services and waits until they are ready.
func (s *instance) create(services ...*servingv1.Service) {
	s.t.Helper()
	for _, o := range services {
		if err := s.Create(context.Background(), o); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, o := range services {
		s.ready(o.Name)
	}
}

// revision reads a Revision of namespace default.
func (s *instance) revision(name string) *servingv1.Revision {
	s.t.Helper()
	o := &servingv1.Revision{}
	if err := s.Get(context.Background(), types.NamespacedName{Namespace: "default", Name: name}, o); err != nil {
		s.t.Fatal(err)
	}
	return o
}

// scaledTo waits until a Revision has so many replicas, asked for and ready.
func (s *instance) scaledTo(name string, replicas int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%s has %d replicas", name, replicas), func() error {
		status := s.revision(name).Status
		if d, a := status.DesiredReplicas, status.ActualReplicas; d == nil || a == nil || int(*d) != replicas || int(*a) != replicas {
			return fmt.Errorf("desired %s, actual %s, %s", number(d), number(a), status.Annotations[servingv1.ScaleWhyAnnotation])
		}
		return nil
	})
}

func number(n *int32) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

// get sends one request for a host to the gateway, and returns the status and the body.
func (s *instance) get(host, path string) (int, string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+s.gateway+path, nil)
	if err != nil {
		return 0, "", err
	}
	request.Host = host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, strings.TrimSpace(string(body)), err
}

// service reads a Service of namespace default; it is empty when there is none.
func (s *instance) service(name string) *servingv1.Service {
	s.t.Helper()
	return plane.Service(s.t, s.Client, name)
}

// change updates a Service, and tries again after a conflict.
func (s *instance) change(name string, change func(*servingv1.Service)) {
	s.t.Helper()
	plane.Change(s.t, s.Client, name, change)
}

// ready waits until a Service is ready in its newest generation.
func (s *instance) ready(name string) *servingv1.Service {
	s.t.Helper()
	var o *servingv1.Service
	eventually(s.t, name+" is ready", func() error {
		o = s.service(name)
		return plane.Unready(o)
	})
	return o
}

// patience bounds the wait for what must happen on a machine that is fully loaded. No test measures time by it.
const patience = 2 * time.Minute

// eventually polls until holds returns nil, for things that happen in other processes.
func eventually(t testing.TB, what string, holds func() error) {
	t.Helper()
	pause := 10 * time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		pause = min(pause+pause/10, 100*time.Millisecond) // poll less often what takes long
	}
}

// absolute is a path of the repository, for processes that run elsewhere.
func absolute(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// kubectl runs kubectl against the instance; the test is skipped where there is none.
func (s *instance) kubectl(stdin string, args ...string) (string, error) {
	s.t.Helper()
	cmd := s.kubectlCommand(args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *instance) kubectlCommand(args ...string) *exec.Cmd {
	s.t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		absent(s.t, "kubectl is not on PATH; install it (Debian: kubernetes-client) to run this test")
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+s.kubeconfig(), "HOME="+s.dir), s.env...)
	return cmd
}

// absent skips a test that needs what this machine does not have. In CI it fails the test: .ci/run installs everything.
func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip("skipped: " + what)
}

// must fails the test when a command failed.
func must(t testing.TB) func(out string, err error) string {
	return func(out string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return out
	}
}
