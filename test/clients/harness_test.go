package clients

import (
	"bufio"
	"bytes"
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
	kubeclient "sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/plane"
	"sluice.dev/sluice/test/relay"
)

// timeout bounds how long a test waits.
const timeout = 2 * time.Minute

// built is the folder of the programs under test, each built once.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4") // clients in parallel: they mostly wait
	}
	ctrllog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "sluice-clients-")
	if err != nil {
		panic(err)
	}
	built = dir
	if err := build(".", "sluice", "sluice.dev/sluice/cmd/sluice"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// build compiles a program of the module in a folder.
func build(module, name, pkg string) error {
	cmd := exec.Command("go", "build", "-o", program(name), pkg)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", name, err, out)
	}
	return nil
}

func program(name string) string { return filepath.Join(built, name) }

// instance is one run of `sluice up`.
type instance struct {
	kubeclient.Client
	t       testing.TB
	dir     string
	gateway string // where data planes listen
	xds     string // address of the relay to the xDS server
	admin   string
	relay   *relay.Relay
	flags   []string
	cmd     *child
}

// up starts `sluice up` in an empty folder and waits until it is ready. Its gateway is builtin or none. Proxyless clients need one,
// since a Route is not ready before a gateway has acknowledged it.
func up(t testing.TB, gateway string, routes model.RouteForm) *instance {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("allow-zero-initial-scale: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := address.Free(t)
	carrier, err := relay.New(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(carrier.Close)
	s := &instance{t: t, dir: t.TempDir(), gateway: address.Free(t), admin: address.Free(t), relay: carrier}
	s.xds = s.relay.Address
	s.flags = []string{
		"up", "--gateway", gateway, "--http", s.gateway, "--admin", s.admin, "--xds", server, "--config", config, "--routes",
		string(routes),
		"--api", address.Free(t), "--local", address.Free(t), "--activator", address.Free(t),
		"--xds-insecure", // clients of every role connect through a relay
	}
	s.start()
	t.Cleanup(func() { s.cmd.stop(t) })
	return s
}

// start runs the process, again after a kill, and waits until it is ready.
func (s *instance) start() {
	s.t.Helper()
	s.cmd = run(s.t, s.dir, nil, program("sluice"), s.flags...)
	s.cmd.waitFor(s.t, "sluice is ready")
	s.Client, _ = plane.Connect(s.t, filepath.Join(s.dir, ".sluice", "kubeconfig"))
}

// service reads a Service of namespace default; it is empty when there is none.
func (s *instance) service(name string) *servingv1.Service {
	s.t.Helper()
	return plane.Service(s.t, s.Client, name)
}

// change updates a Service, and tries again on a conflict.
func (s *instance) change(name string, change func(*servingv1.Service)) {
	s.t.Helper()
	plane.Change(s.t, s.Client, name, change)
}

// ready waits until a Service is ready in its newest generation.
func (s *instance) ready(name string) {
	s.t.Helper()
	eventually(s.t, name+" is ready", func() error { return plane.Unready(s.service(name)) })
}

// replicas lists the pids of a revision's processes. They have the instance's folder in their environment.
func (s *instance) replicas(revision string) []int {
	s.t.Helper()
	return plane.Replicas(s.t, s.dir, revision)
}

// child is a process that the tests started, with its output.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// run starts a program whose output is kept.
func run(t testing.TB, dir string, environment []string, name string, args ...string) *child {
	t.Helper()
	c := &child{cmd: exec.Command(name, args...), exited: make(chan struct{})}
	c.cmd.Dir, c.cmd.Env = dir, append(os.Environ(), environment...)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = writer, writer
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	go func() {
		defer reader.Close()
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			c.mu.Lock()
			c.output.Write(append(scanner.Bytes(), '\n'))
			c.mu.Unlock()
		}
	}()
	go func() {
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	return c
}

func (c *child) printed() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.String()
}

func (c *child) waitFor(t testing.TB, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s prints %q", filepath.Base(c.cmd.Path), text), func() error {
		select {
		case <-c.exited:
			t.Fatalf("%s ended before it printed %q:\n%s", c.cmd.Path, text, c.printed())
		default:
		}
		if !strings.Contains(c.printed(), text) {
			return fmt.Errorf("it printed %s", c.printed())
		}
		return nil
	})
}

// stop ends the process by SIGTERM, and shows its output if the test has failed.
func (c *child) stop(t testing.TB) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(timeout):
		c.kill()
		t.Errorf("%s did not end within %v of SIGTERM", c.cmd.Path, timeout)
	}
	if t.Failed() {
		t.Logf("output of %s:\n%s", c.cmd.Path, last(c.printed(), 16<<10))
	}
}

// page returns a page of an admin interface; nothing if the process has ended.
func page(t testing.TB, admin, path string) string {
	t.Helper()
	response, err := http.Get("http://" + admin + path)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// last returns the end of a text.
func last(text string, size int) string { return text[max(0, len(text)-size):] }

// kill sends the process SIGKILL.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// eventually polls until holds returns nil, for effects in other processes.
func eventually(t testing.TB, what string, holds func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	t.Fatalf("%s: not within %v: %v", what, timeout, err)
}
