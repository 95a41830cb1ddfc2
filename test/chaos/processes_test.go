package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/realenvoy"
	"sluice.dev/sluice/test/relay"
)

// built is the folder of the programs of a run.
var built string

func buildAll() error {
	for name, pkg := range map[string]string{"sluice": "sluice.dev/sluice/cmd/sluice", "app": "./testdata/app"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built, name), pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// process is one of our processes, with the end of its output.
type process struct {
	name   string
	cmd    *exec.Cmd
	exited chan struct{}

	before string // the end of the log of the process that it replaces
	keep   int    // how many lines of its log are kept

	mu    sync.Mutex
	lines []string // guarded by mu
}

// How many lines are kept of a log, of a predecessor's log, and of Envoy's log, in which the run looks for complaints.
const (
	keptLines   = 400
	keptBefore  = 40
	keptOfEnvoy = 100_000
)

func startProcess(name, dir, path string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(path, args...), exited: make(chan struct{}), keep: keptLines}
	if !strings.HasSuffix(path, "sluice") {
		p.keep = keptOfEnvoy
	}
	p.cmd.Dir = dir
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	err = p.cmd.Start()
	writer.Close()
	if err != nil {
		return nil, err
	}
	go func() {
		defer reader.Close()
		for in := bufio.NewScanner(reader); in.Scan(); {
			logLine(p.name, in.Text())
			p.mu.Lock()
			if p.lines = append(p.lines, in.Text()); len(p.lines) > 2*p.keep {
				p.lines = slices.Delete(p.lines, 0, p.keep)
			}
			p.mu.Unlock()
		}
	}()
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// logs is the file of -chaos.log; nil without one.
var logs *os.File

// logLine writes to the log of the whole run, if there is one.
func logLine(who, text string) {
	if logs != nil {
		fmt.Fprintf(logs, "%s %s: %s\n", time.Now().Format(clock), who, text)
	}
}

// tail returns the end of its log.
func (p *process) tail(lines int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := ""
	if p.before != "" && lines != keptBefore {
		before = p.before + "\n"
	}
	return before + "--- " + p.name + "\n" + strings.Join(p.lines[max(0, len(p.lines)-lines):], "\n")
}

func (p *process) printed(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.lines, func(line string) bool { return strings.Contains(line, text) })
}

func (p *process) running() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended: %v\n%s", p.name, p.cmd.ProcessState, p.tail(40))
	default:
		return nil
	}
}

// end sends a signal and waits until the process has ended.
func (p *process) end(signal syscall.Signal) error {
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.exited
		return fmt.Errorf("%s did not end within a minute of %v", p.name, signal)
	}
	if code := p.cmd.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != 0 {
		return fmt.Errorf("%s ended with %d after SIGTERM", p.name, code)
	}
	return nil
}

// installation has all processes: the control plane, the gateway and the activators.
type installation struct {
	dir     string
	gateway string // where the data plane takes requests
	flags   []string
	relays  []*relay.Relay // of the gateway and the activators
	xds     string         // the server itself
	admins  map[string]string

	mu    sync.Mutex
	plane *process
	parts []*process
	envoy *process // the Envoy among the parts; nil if there is none
	api   atomic.Pointer[client.Client]
	peaks map[string]float64
}

// newInstallation starts all processes.
func newInstallation(t *testing.T, with setting) (*installation, error) {
	h := &installation{
		dir: t.TempDir(), gateway: address.Free(t), xds: address.Free(t), admins: map[string]string{}, peaks: map[string]float64{},
	}
	config := filepath.Join(h.dir, "autoscaler.yaml")
	text := "allow-zero-initial-scale: true\nstable-window: 6s\nscale-to-zero-grace-period: 1s\nmax-scale: 3\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	h.admins["up"] = address.Free(t)
	h.flags = []string{
		"up", "--gateway", "none", "--activator", "none", "--http", h.gateway, "--local", address.Free(t), "--xds", h.xds,
		"--xds-insecure", "--api", address.Free(t), "--admin", h.admins["up"], "--config", config, "--routes", with.routes,
	}
	t.Cleanup(func() { h.close() })
	if err := h.startPlane(); err != nil {
		return nil, err
	}
	for range 3 {
		r, err := relay.New(h.xds)
		if err != nil {
			return nil, err
		}
		t.Cleanup(r.Close)
		h.relays = append(h.relays, r)
	}
	for i := 1; i <= 2; i++ {
		if err := h.startPart(t, fmt.Sprint("activator", i), "activator", "--xds", h.relays[i].Address,
			"--listen", address.Free(t)); err != nil {
			return nil, err
		}
	}
	if with.envoy == "" {
		return h, h.startPart(t, "gateway", "gateway", "--xds", h.relays[0].Address)
	}
	return h, h.startEnvoy(t, with.envoy)
}

func (h *installation) startPart(t *testing.T, name string, args ...string) error {
	h.admins[name] = address.Free(t)
	p, err := startProcess(name, h.dir, filepath.Join(built, "sluice"), append(args, "--admin", h.admins[name])...)
	if err != nil {
		return err
	}
	h.parts = append(h.parts, p)
	return nil
}

func (h *installation) startEnvoy(t *testing.T, path string) error {
	h.admins["gateway"] = address.Free(t)
	text, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway", XDS: h.relays[0].Address, Admin: h.admins["gateway"]})
	if err != nil {
		return err
	}
	file := filepath.Join(h.dir, "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	p, err := startProcess("gateway", h.dir, path, "-c", file, "--disable-hot-restart")
	if err == nil {
		h.parts, h.envoy = append(h.parts, p), p
	}
	return err
}

// checkEnvoy fails the test if Envoy's log has complaints, except about the streams that the run cuts.
func (h *installation) checkEnvoy(t *testing.T) {
	if h.envoy == nil {
		return
	}
	stats, err := get("http://" + h.admins["gateway"] + "/stats")
	if err != nil {
		t.Error(err)
	}
	h.envoy.mu.Lock()
	log := strings.Join(h.envoy.lines, "\n")
	h.envoy.mu.Unlock()
	if all := realenvoy.Complaints(log, stats, realenvoy.Disconnected); len(all) > 0 {
		t.Errorf("Envoy complains of %d things:\n%s", len(all), strings.Join(all, "\n"))
	}
}

// startPlane starts the control plane and waits until its API serves.
func (h *installation) startPlane() error {
	p, err := startProcess("up", h.dir, filepath.Join(built, "sluice"), h.flags...)
	if err != nil {
		return err
	}
	h.mu.Lock()
	if h.plane != nil {
		p.before = h.plane.tail(keptBefore)
	}
	h.plane = p
	h.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); !p.printed("sluice is ready"); time.Sleep(5 * time.Millisecond) {
		if err := p.running(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the control plane is not ready after a minute")
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(h.dir, ".sluice", "kubeconfig"))
	if err != nil {
		return err
	}
	return h.connect(config)
}

func (h *installation) connect(config *rest.Config) error {
	config.QPS = -1
	config.Timeout = 10 * time.Second
	scheme := runtime.NewScheme()
	if err := servingv1.AddToScheme(scheme); err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	h.api.Store(&c)
	return nil
}

// client returns the current client of the API: a restart changes it.
func (h *installation) client() client.Client { return *h.api.Load() }

// endPlane ends the control plane.
func (h *installation) endPlane(signal syscall.Signal) error {
	h.mu.Lock()
	p := h.plane
	h.mu.Unlock()
	return p.end(signal)
}

func (h *installation) close() {
	for _, p := range slices.Backward(h.processes()) {
		if p.running() == nil {
			_ = p.end(syscall.SIGTERM)
		}
	}
}

func (h *installation) processes() []*process {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.plane == nil {
		return nil
	}
	return append([]*process{h.plane}, h.parts...)
}

func (h *installation) tails(lines int) string {
	var all []string
	for _, p := range h.processes() {
		all = append(all, p.tail(lines))
	}
	return strings.Join(all, "\n")
}

// alive returns an error if a process that serves requests has ended.
func (h *installation) alive() error {
	var all []error
	for _, p := range h.parts {
		all = append(all, p.running())
	}
	return errors.Join(all...)
}

// sizes reads the resident memory and the Go heap in MiB and the number of goroutines of every process, and keeps the peaks. It leaves out
// processes that do not answer.
func (h *installation) sizes() map[string]float64 {
	all := map[string]float64{}
	for name, admin := range h.admins {
		text, err := get("http://" + admin + "/metrics")
		if err != nil {
			continue
		}
		for metric, unit := range map[string]float64{"process_resident_memory_bytes": 1 << 20, "go_goroutines": 1, "process_open_fds": 1} {
			if v, ok := figure(text, metric); ok {
				all[name+" "+metric] = v / unit
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, v := range all {
		h.peaks[name] = max(h.peaks[name], v)
	}
	return all
}

func (h *installation) peaked() map[string]float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.peaks)
}

// keepLogs copies the logs of the replicas to a folder beside the log.
func (h *installation) keepLogs(t *testing.T) {
	if logs == nil {
		return
	}
	to := logs.Name() + ".replicas"
	if err := os.RemoveAll(to); err != nil {
		t.Log(err)
	}
	if err := os.CopyFS(to, os.DirFS(filepath.Join(h.dir, ".sluice", "logs"))); err != nil {
		t.Log(err)
	}
}

// stacks writes the goroutines of every process to the log.
func (h *installation) stacks() {
	if logs == nil {
		return
	}
	for name, admin := range h.admins {
		if text, err := get("http://" + admin + "/debug/pprof/goroutine?debug=2"); err == nil {
			logLine(name, text)
		}
	}
}

func figure(text, metric string) (float64, bool) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return v, err == nil
		}
	}
	return 0, false
}

func get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// reconnected waits until a client's connection has existed for a moment.
func reconnected(r *relay.Relay) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if r.Age() > 200*time.Millisecond {
			return nil
		}
	}
	return errors.New("a client has not connected to the xDS server again within a minute")
}
