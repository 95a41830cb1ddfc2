package feature

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
)

// These tests check what processes of this user can reach of a `sluice up`, and that others cannot: docs/security.md has the table.

func TestCommandsFindASluiceByItsDataDirectory(t *testing.T) {
	onEachGateway(t, commandsFindASluiceByItsDataDirectory)
}

func commandsFindASluiceByItsDataDirectory(t *testing.T, g gateway) {
	s := g.up(t, "--gateway", "none", "--activator", "none", "-f", absolute(t, "examples/hello"))
	found := []string{"--data-dir", filepath.Join(s.dir, ".sluice")}
	at := func(args ...string) (string, error) {
		cmd := exec.Command(sluiceBinary, append(args, found...)...)
		cmd.Dir = t.TempDir()
		return combined(cmd)
	}
	if s.stop() != 0 {
		t.Error("it did not end with code 0")
	}
	for _, args := range [][]string{{"xds", "status"}, {"xds", "dump", "gateway"}, {"xds", "diff"}, {"explain", "hello"}} {
		out, err := at(args...)
		if lines := strings.Count(strings.TrimSpace(out), "\n"); err == nil || lines > 0 || !strings.Contains(out, "--data-dir") {
			t.Errorf("without a sluice up %v must print one sentence with a remedy, and prints: %s", args, out)
		}
	}
	// Both may start before `sluice up` does.
	activator := newPart(t, "activator")
	activator.launch(sluiceBinary, append([]string{"activator", "--listen", address.Free(t), "--admin", activator.admin}, found...)...)
	activator.says("waiting for the xDS server")
	gateway := g.beside(t, "", found...)
	s.start()
	s.ready("hello")
	s.answers(host, 200)
	gateway.ready()
	activator.ready()
	for _, args := range [][]string{{"xds", "status"}, {"xds", "diff", "--wait", "1m"}, {"explain", "hello"}} {
		if out, err := at(args...); err != nil || strings.Contains(out, "grpc") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	nowhere := t.TempDir()
	for _, command := range []string{"gateway", "activator"} {
		out := refused(t, nowhere, command)
		if _, err := os.Stat(filepath.Join(nowhere, ".sluice")); err == nil || strings.Count(out, "\n") != 1 ||
			!strings.Contains(out, "--data-dir") {
			t.Errorf("%s where there is no data directory: %s", command, out)
		}
	}
}

// A local process may connect to the address of the xDS server, which is for gRPC clients.
func TestLocalProcessIsNeitherGatewayNorActivator(t *testing.T) {
	onEachGateway(t, localProcessIsNeitherGatewayNorActivator)
}

func localProcessIsNeitherGatewayNorActivator(t *testing.T, g gateway) {
	s := up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	denied := "PermissionDenied"
	if g.envoy != nil {
		denied = "stream closed: 7, "
	}
	for _, p := range []*part{g.beside(t, s.xds), startActivator(t, s.xds, address.Free(t))} {
		want := denied
		if p.name == "activator" {
			want = "PermissionDenied"
		}
		p.says(want)
		p.says("is for proxyless gRPC clients alone")
	}
	if out, err := combined(exec.Command(sluiceBinary, "xds", "status", "--xds", s.xds)); err == nil ||
		!strings.Contains(out, "--xds-insecure") {
		t.Errorf("a client without proof of identity gets the status: %v\n%s", err, out)
	}
	status, _ := s.inspect("status")
	if strings.Count(status, "\n") != 3 { // the heading, and the instance's own clients
		t.Errorf("it has other clients too:\n%s", status)
	}
}

// The platform's internal headers have no effect when a client sends them, in either form of routes. The service direct has no
// queue-proxy: there only the gateway removes them.
func TestClientsCannotSpeakAsThePlatform(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		for _, routes := range []model.RouteForm{model.Scoped, model.Inline} {
			t.Run(string(routes), func(t *testing.T) {
				t.Parallel()
				clientsCannotSpeakAsThePlatform(t, g, routes)
			})
		}
	})
}

func clientsCannotSpeakAsThePlatform(t *testing.T, g gateway, routes model.RouteForm) {
	s := g.up(t, "--routes", string(routes), "--request-log")
	const autoscaling = "autoscaling.knative.dev/"
	s.create(
		newApp(t, "proxied", map[string]string{autoscaling + "min-scale": "1", autoscaling + "target-burst-capacity": "0"}),
		newApp(t, "held", map[string]string{autoscaling + "min-scale": "1", autoscaling + "target-burst-capacity": "-1"}),
		newApp(t, "direct", map[string]string{autoscaling + "min-scale": "1", autoscaling + "target-burst-capacity": "0",
			"sluice.dev/metrics-source": "envoy"}),
		newApp(t, "loaded", map[string]string{
			autoscaling + "min-scale": "1", autoscaling + "max-scale": "2", autoscaling + "window": "6s", autoscaling + "target": "1",
			autoscaling + "target-burst-capacity": "0",
		}),
	)
	for _, name := range []string{"proxied", "held", "direct"} {
		for _, header := range [][]string{
			{"K-Network-Probe", "queue"}, {"K-Network-Probe", "activator"}, {"Sluice-Slot", "leased"}, {"Sluice-Slot", "handed"}, {"K-Network-Probe", "probe", "K-Network-Hash", "abc"},
			{"K-Kubelet-Probe", "yes"}, {"User-Agent", "kube-probe/1.37"}, {"K-Original-Host", "other.example"},
			{"K-Proxy-Request", "activator"},
			{"X-Envoy-Upstream-Rq-Timeout-Ms", "1"}, {"X-Envoy-Internal", "true"},
			{"Knative-Serving-Revision", "loaded-00001", "Knative-Serving-Namespace", "default"},
		} {
			s.unmoved(name, header)
		}
	}
	s.proxied("held-00001")
	// Requests that claim to come from an activator count as load.
	finish := filepath.Join(t.TempDir(), "finish")
	var held sync.WaitGroup
	for range 4 {
		held.Go(func() {
			request, _ := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/?until="+finish, nil)
			request.Host = "loaded.default.localhost"
			request.Header.Set("K-Proxy-Request", "activator")
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
		})
	}
	defer held.Wait()
	defer touch(t, finish)
	s.scaledTo("loaded-00001", 2)
}

// proxied fails the test unless queue-proxies have logged all requests to a revision as an activator's.
func (s *instance) proxied(revision string) {
	s.t.Helper()
	var seen map[bool]int
	eventually(s.t, "queue-proxies have logged its requests", func() error {
		seen = map[bool]int{}
		for line := range strings.Lines(s.printed()) {
			var logged struct {
				Proxied bool
				Labels  map[string]string
			}
			if json.Unmarshal([]byte(line), &logged) == nil && logged.Labels["revision"] == revision {
				seen[logged.Proxied]++
			}
		}
		if len(seen) == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	if seen[false] > 0 {
		s.t.Errorf("%s: requests by whether they count as an activator's: %v", revision, seen)
	}
}

// unmoved fails the test unless the application answers a request with these headers like any other.
func (s *instance) unmoved(name string, header []string) {
	s.t.Helper()
	request, _ := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/?ms=20", nil)
	request.Host = name + ".default.localhost"
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Error(err)
	}
	got := []string{
		response.Status, strings.TrimSpace(string(body)), response.Header.Get("App-Host"),
		strings.Join(response.Header["App-Internal"], ","),
	}
	if want := []string{"200 OK", name + "-00001", request.Host, ""}; fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("%s with %q: status, revision, host and headers that the application got are %q, want %q", name, header, got, want)
	}
}

// A user who could place a kubeconfig or a socket in the data directory could make commands run his programs and trust his servers.
func TestForeignDataDirectoryIsNotUsed(t *testing.T) {
	t.Parallel()
	open, linked := t.TempDir(), t.TempDir()
	data := filepath.Join(open, ".sluice")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Chmod(data, 0o777), os.Symlink(data, filepath.Join(linked, ".sluice"))); err != nil {
		t.Fatal(err)
	}
	touch(t, filepath.Join(data, "kubeconfig"))
	for dir, want := range map[string]string{
		open: "others may write to the data directory .sluice", linked: "the data directory .sluice is a symbolic link",
	} {
		for _, args := range [][]string{{"explain", "hello"}, {"xds", "status"}, {"gateway"}, {"activator"}, {"bootstrap"}} {
			if out := refused(t, dir, args...); !strings.Contains(out, want) || !strings.Contains(out, "--data-dir") {
				t.Errorf("%v: %s", args, out)
			}
		}
	}
	if out := refused(t, linked, "up", "--http", address.Free(t), "--local", "", "--activator", "none", "--xds", "none",
		"--api", address.Free(t), "--admin", address.Free(t)); !strings.Contains(out, "is a symbolic link") {
		t.Errorf("up in a folder that a link leads to: %s", out)
	}
}

// A start closes a data directory that others could read, and serves as before.
func TestDataDirectoryIsClosedAtTheStart(t *testing.T) {
	t.Parallel()
	s := up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	s.stop()
	data := filepath.Join(s.dir, ".sluice")
	for path, mode := range map[string]os.FileMode{"": 0o755, "run": 0o755, "kubeconfig": 0o644, "token": 0o644, "apiserver.key": 0o644} {
		if err := os.Chmod(filepath.Join(data, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	s.waitFor("others could read the data directory")
	for path, want := range map[string]os.FileMode{
		"": 0o700, "run": 0o700, "kubeconfig": 0o600, "token": 0o600, "apiserver.key": 0o600, "activator-token": 0o600, "lock": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(data, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	s.ready("hello")
	s.answers(host, 200)
	token, err := os.ReadFile(filepath.Join(data, "activator-token"))
	if err != nil || len(token) < 20 {
		t.Fatalf("the token of activators: %v", err)
	}
	dumped, _ := s.inspect("dump", "activator", "-t", "sds")
	if !strings.Contains(dumped, "generic_secret") || strings.Contains(dumped+s.printed(), strings.TrimSpace(string(token))) {
		t.Errorf("the activator has no token, or the dump shows it:\n%s", dumped)
	}
}
