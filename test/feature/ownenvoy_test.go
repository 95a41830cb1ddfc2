package feature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sluice.dev/sluice/envoy"
)

// ownEnvoy is an Envoy that the test runs, with sluice up --gateway none. It keeps running while the control plane restarts.
type ownEnvoy struct {
	t      testing.TB
	path   string // the executable
	file   string // its bootstrap
	admin  *http.Client
	log    bytes.Buffer // read when it has ended
	p      *exec.Cmd
	exited chan error
}

// ownEnvoy starts an Envoy with the bootstrap of `sluice bootstrap`. It may log complaints, since tests cause some. It must not end by
// itself.
func (s *instance) ownEnvoy() *ownEnvoy {
	s.t.Helper()
	dir := shortDir(s.t)
	e := &ownEnvoy{t: s.t, path: realEnvoy.envoy(s.t), file: filepath.Join(dir, "envoy.yaml")}
	admin := "unix:" + filepath.Join(dir, "admin.sock")
	bootstrap, err := exec.Command(sluiceBinary, "bootstrap", "--xds", s.socket(), "--admin", admin, "--node-id", "own").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(e.file, bootstrap, 0o600); err != nil {
		s.t.Fatal(err)
	}
	transport := envoy.AdminTransport(admin)
	e.admin = &http.Client{Transport: transport}
	e.start()
	s.t.Cleanup(func() {
		transport.CloseIdleConnections()
		e.stop()
		if s.t.Failed() {
			s.t.Logf("the Envoy wrote:\n%s", e.log.String())
		}
	})
	return e
}

func (e *ownEnvoy) start() {
	e.t.Helper()
	e.p, e.exited = exec.Command(e.path, "-c", e.file, "--disable-hot-restart", "--log-level", "error"), make(chan error, 1)
	e.p.Stdout, e.p.Stderr = &e.log, &e.log
	if err := e.p.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func(p *exec.Cmd, exited chan<- error) { exited <- p.Wait() }(e.p, e.exited)
}

func (e *ownEnvoy) stop() {
	select {
	case err := <-e.exited:
		e.t.Errorf("the Envoy ended by itself: %v", err)
		return
	default:
	}
	_ = e.p.Process.Signal(syscall.SIGTERM)
	<-e.exited
}

// stats returns the lines of Envoy's counters and gauges whose names match.
func (e *ownEnvoy) stats(pattern string) (lines []string, err error) {
	response, err := e.admin.Get("http://localhost/stats?filter=" + url.QueryEscape(pattern))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return strings.Fields(strings.ReplaceAll(string(text), ": ", "=")), err
}

// stat returns a counter or gauge of Envoy.
func (e *ownEnvoy) stat(name string) (value string, err error) {
	lines, err := e.stats("^" + regexp.QuoteMeta(name) + "$")
	if len(lines) > 0 {
		_, value, _ = strings.Cut(lines[0], "=")
	}
	return value, err
}

// hasClusters waits until Envoy has so many clusters, in addition to those of the xDS server and of the activators.
func (e *ownEnvoy) hasClusters(want int) {
	e.t.Helper()
	eventually(e.t, fmt.Sprintf("Envoy has %d clusters", want), func() error {
		value, err := e.stat("cluster_manager.active_clusters")
		if err == nil && value != fmt.Sprint(want+2) {
			err = fmt.Errorf("it has %s, those two included", value)
		}
		return err
	})
}

// serves waits until a host is answered 200.
func (s *instance) serves(host string) {
	s.t.Helper()
	eventually(s.t, host+" answers", func() error {
		status, body, err := s.get(host, "/")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", status, body)
		}
		return err
	})
}

// verdict returns the first line that explain prints.
func (s *instance) verdict(of string) string {
	s.t.Helper()
	out, _ := s.explain(of)
	first, _, _ := strings.Cut(out, "\n")
	return first
}

func TestEnvoyServesAListenerWhoseAddressBecomesFree(t *testing.T) {
	t.Parallel()
	s := up(t, "--gateway", "none", "-f", absolute(t, "examples/hello"))
	holder, err := net.Listen("tcp", s.gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	e := s.ownEnvoy()
	eventually(t, "explain says that the address is taken", func() error {
		verdict := s.verdict(host)
		for _, part := range []string{"no: ", "gateway own", "Listener http", "cannot bind", s.gateway, "Free that address"} {
			if !strings.Contains(verdict, part) {
				return fmt.Errorf("no %q in %s", part, verdict)
			}
		}
		return nil
	})
	eventually(t, "it has refused the listener twice", func() error { // so the server has sent it again without a change
		value, err := e.stat("listener_manager.lds.update_rejected")
		if err == nil && (value == "0" || value == "1") {
			err = fmt.Errorf("%s times", value)
		}
		return err
	})
	holder.Close()
	s.serves(host)
	eventually(t, "explain says that it is served", func() error {
		if verdict := s.verdict(host); !strings.Contains(verdict, host+" of Route default/hello is served: ") {
			return errors.New(verdict)
		}
		return nil
	})
}

// An Envoy none of whose listeners can be bound at first drops what they need, and does not ask for it again.
func TestEnvoyServesWhenAllOfItsAddressesBecomeFree(t *testing.T) {
	t.Parallel()
	s := up(t, "--gateway", "none", "-f", absolute(t, "examples/hello"))
	var holders []net.Listener
	for _, address := range []string{s.gateway, s.local} {
		holder, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		holders = append(holders, holder)
	}
	e := s.ownEnvoy()
	eventually(t, "it has refused its listeners", func() error {
		value, err := e.stat("listener_manager.lds.update_rejected")
		if err == nil && value == "0" {
			err = errors.New("it has not")
		}
		return err
	})
	for _, holder := range holders {
		holder.Close()
	}
	version, err := envoy.Check(t.Context(), e.path)
	if err != nil {
		t.Fatal(err)
	}
	if version.Compare(envoy.AsksForLateScopes) < 0 {
		eventually(t, "explain says which client hangs", func() error {
			if verdict := s.verdict(host); !strings.Contains(verdict, "gateway own") || !strings.Contains(verdict, "restart it") {
				return errors.New(verdict)
			}
			return nil
		})
		e.stop()
		e.start()
	}
	s.serves(host)
}

func TestEnvoyIsReadyWithoutAnyService(t *testing.T) {
	t.Parallel()
	s := up(t, "--gateway", "none")
	e := s.ownEnvoy()
	eventually(t, "it listens", func() error { _, _, err := s.get(host, "/"); return err })
	gaveUp, err := e.stats("init_fetch_timeout")
	if err != nil || len(gaveUp) == 0 {
		t.Fatalf("no figures: %v", err)
	}
	for _, line := range gaveUp {
		if !strings.HasSuffix(line, "=0") {
			t.Errorf("Envoy gave up waiting for an answer: %s", line)
		}
	}
}

// Requests in the killed process are lost. But after the restart the server removes none of Envoy's resources.
func TestEnvoyReceivesNoRemovalAfterAKill(t *testing.T) {
	t.Parallel()
	const services = 30
	config := configFile(t, "allow-zero-initial-scale: \"true\"\n")
	s := up(t, "--gateway", "none", "--config", config)
	e := s.ownEnvoy()
	for i := range services {
		o := newService(fmt.Sprintf("s%d", i), "sluice", "sample")
		o.Spec.Template.Metadata.Annotations = map[string]string{"autoscaling.knative.dev/initial-scale": "0"}
		if err := s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	e.hasClusters(services)
	s.serves("s0.default.localhost")
	l := s.startLoad("s0.default.localhost", 4)
	for range 2 {
		s.kill()
		s.start()
		s.serves("s0.default.localhost")
	}
	_, failed := l.stop()
	for _, f := range failed {
		if strings.Contains(f, " 404 ") { // the status, not the milliseconds before it
			t.Fatalf("a request failed: %s", f)
		}
	}
	if value, err := e.stat("cluster_manager.cluster_removed"); err != nil || value != "0" {
		t.Errorf("Envoy has removed %s clusters, %v", value, err)
	}
}
