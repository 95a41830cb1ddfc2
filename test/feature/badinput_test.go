package feature

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/address"
)

func newService(name string, command ...string) *servingv1.Service {
	o := &servingv1.Service{}
	o.Namespace, o.Name = "default", name
	o.Spec.Template.Spec.Containers = []servingv1.Container{{Image: "sluice.local/sample", Command: command}}
	return o
}

// condition waits until a Service has a condition whose message contains a text.
func (s *instance) condition(service, conditionType, status, text string) {
	s.t.Helper()
	eventually(s.t, service+" says what is wrong", func() error {
		c := s.service(service).Status.Condition(conditionType)
		if c == nil || string(c.Status) != status || c.Reason == "" || !strings.Contains(c.Message, text) {
			return fmt.Errorf("condition %s is %+v, want %s and a message with %q", conditionType, c, status, text)
		}
		return nil
	})
}

// undisturbed checks that the Service of examples/hello still serves.
func (s *instance) undisturbed() {
	s.t.Helper()
	if status, body, err := s.get(host, "/"); err != nil || status != 200 {
		s.t.Errorf("hello was disturbed: status %d, %v: %s", status, err, body)
	}
}

func TestBadObjectsAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	s := embed(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	for _, c := range []struct {
		name   string
		change func(*servingv1.Service)
		want   string
	}{
		{"traffic that sums to 90", func(o *servingv1.Service) {
			o.Spec.Traffic = servingv1.Traffic{target("bad-a", "", 60), target("bad-b", "", 30)}
		}, "Traffic targets sum to 90, want 100"},
		{"duplicate tag", func(o *servingv1.Service) {
			o.Spec.Traffic = servingv1.Traffic{target("bad-a", "x", 60), target("bad-b", "x", 40)}
		}, `Multiple definitions for "x"`},
		{"name of a revision that is not the service's", func(o *servingv1.Service) { o.Spec.Template.Metadata.Name = "other-1" }, "bad-"},
		{"concurrency out of bounds", func(o *servingv1.Service) { o.Spec.Template.Spec.ContainerConcurrency = new(int64(1001)) }, "1000"},
		{"timeout out of bounds", func(o *servingv1.Service) { o.Spec.Template.Spec.TimeoutSeconds = new(int64(601)) }, "600"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newService("bad", "sluice", "sample")
			c.change(o)
			err := s.Create(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
	s.undisturbed()
}

func TestUnknownRevisionInTrafficKeepsTheOldSplit(t *testing.T) {
	onEachGateway(t, unknownRevisionInTrafficKeepsTheOldSplit)
}

func unknownRevisionInTrafficKeepsTheOldSplit(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	s.change("hello", func(o *servingv1.Service) {
		o.Spec.Traffic = servingv1.Traffic{target("hello-00001", "", 50), target("hello-nowhere", "", 50)}
	})
	s.condition("hello", "RoutesReady", "False", `"hello-nowhere"`)
	for range 50 {
		s.undisturbed()
	}
}

func TestCommandThatDoesNotExistIsNamed(t *testing.T) {
	t.Parallel()
	s := embed(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	if err := s.Create(t.Context(), newService("lost", "/no/such/command")); err != nil {
		t.Fatal(err)
	}
	s.condition("lost", "Ready", "False", "/no/such/command")
	if err := s.Create(t.Context(), newService("imageonly")); err != nil {
		t.Fatal(err)
	}
	s.condition("imageonly", "Ready", "False", "command")
	s.undisturbed()
}

func TestProcessThatExitsIsReportedWithItsLastOutput(t *testing.T) {
	t.Parallel()
	s := embed(t)
	if err := s.Create(t.Context(), newService("crash", "/bin/sh", "-c", "echo the table is missing >&2; exit 3")); err != nil {
		t.Fatal(err)
	}
	s.condition("crash", "Ready", "False", "the table is missing")
}

func TestOlderServiceKeepsAHostThatTwoClaim(t *testing.T) {
	onEachGateway(t, olderServiceKeepsAHostThatTwoClaim)
}

func olderServiceKeepsAHostThatTwoClaim(t *testing.T, g gateway) {
	s := g.up(t)
	// The tag "new" of "thing" has the host new-thing.default.localhost, which is also the second Service's own.
	first := newService("thing", "sluice", "sample")
	first.Spec.Template.Metadata.Name = "thing-one"
	first.Spec.Traffic = servingv1.Traffic{target("thing-one", "new", 100)}
	if err := s.Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s.ready("thing")
	time.Sleep(1100 * time.Millisecond) // creation times have whole seconds, and the second Service must be younger
	if err := s.Create(t.Context(), newService("new-thing", "sluice", "sample")); err != nil {
		t.Fatal(err)
	}
	s.condition("new-thing", "RoutesReady", "False", "new-thing.default.localhost")
	_, body, err := s.get("new-thing.default.localhost", "/")
	if err != nil || !strings.Contains(body, "thing-one") {
		t.Errorf("the host answers %q, %v: want the older Service's revision thing-one", body, err)
	}
	if status, _, _ := s.get("thing.default.localhost", "/"); status != 200 {
		t.Errorf("the older Service answers %d", status)
	}
}

func TestCorruptManifestAmongGoodOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, err := os.ReadFile(absolute(t, "examples/hello/service.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"1.yaml": "{not yaml", "2.yaml": string(good), "3.yaml": "kind: Service\n",
		"4.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := embed(t, "-f", dir)
	s.ready("hello")
	s.undisturbed()
	for _, file := range []string{"1.yaml", "3.yaml", "4.yaml"} {
		if !strings.Contains(s.printed(), "cannot apply "+filepath.Join(dir, file)) {
			t.Errorf("the log does not name %s:\n%s", file, s.printed())
		}
	}
}

// refused runs sluice with invalid arguments and returns what it prints.
func refused(t *testing.T, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, sluiceBinary, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("sluice %v was not refused", args)
	}
	return string(out)
}

// listens are the flags of all addresses that `sluice up` listens on.
var listens = []string{"--http", "--api", "--xds", "--admin", "--local", "--activator"}

func TestAddressInUseIsNamedWithItsFlag(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range listens {
		args := []string{"up"}
		for _, f := range listens {
			address := address.Free(t)
			if f == flag {
				address = l.Addr().String()
			}
			args = append(args, f, address)
		}
		out := refused(t, t.TempDir(), args...)
		if !strings.Contains(out, "in use") || !strings.Contains(out, flag) || !strings.Contains(out, l.Addr().String()) {
			t.Errorf("%s in use: it says %q, want the address and the flag", flag, out)
		}
	}
}

func TestDataDirectoryInUse(t *testing.T) {
	t.Parallel()
	s := up(t)
	args := []string{"up"}
	for _, f := range listens {
		args = append(args, f, address.Free(t))
	}
	if out := refused(t, s.dir, args...); !strings.Contains(out, "in use") || !strings.Contains(out, ".sluice") {
		t.Errorf("it says %q, want that the data directory is in use", out)
	} else if n := strings.Count(out, "in use"); n != 1 {
		t.Errorf("it prints %q: the same %d times", out, n)
	}
}

func TestUnknownFlagsAndPathsAreErrors(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"unknown command": {"upp"},
		"unknown flag":    {"up", "--htp", "x"},
		"no such file":    {"up", "-f", "nowhere"},
		"log-level":       {"up", "--log-level", "loud"},
		"--gateway":       {"up", "--gateway", "nginx"},
		"an IP address":   {"up", "--http", "gateway.test:8080"},
		"belong together": {"up", "--tls-cert", "cert.pem"},
		"nothing to":      {"translate"},
	} {
		if out := refused(t, t.TempDir(), args...); !strings.Contains(out, want) {
			t.Errorf("sluice %v says %q, want %q in it", args, out, want)
		}
	}
}

func TestBodyOverTheLimitOfTheAPI(t *testing.T) {
	t.Parallel()
	s := embed(t)
	o := newService("big", "sluice", "sample")
	o.Annotations = map[string]string{"note": strings.Repeat("x", 8<<20)}
	if err := s.Create(t.Context(), o); err == nil ||
		!strings.Contains(err.Error(), "too large") && !strings.Contains(err.Error(), "limit") {
		t.Errorf("an object of 8 MiB: %.300v", err)
	}
	if err := s.Create(t.Context(), newService("small", "sluice", "sample")); err != nil {
		t.Errorf("and then a small one: %v", err)
	}
}

func TestUnknownHostIsNotFound(t *testing.T) { onEachGateway(t, unknownHostIsNotFound) }

func unknownHostIsNotFound(t *testing.T, g gateway) {
	s := g.up(t)
	if status, body, err := s.get("nobody.default.localhost", "/"); err != nil || status != http.StatusNotFound {
		t.Errorf("status %d, %v: %s", status, err, body)
	}
}

func TestTenThousandHeadersAreRefused(t *testing.T) { onEachGateway(t, tenThousandHeadersAreRefused) }

func tenThousandHeadersAreRefused(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	conn, err := net.Dial("tcp", s.gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // the gateway may answer and close the connection before the client has written everything
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n", host)
		for i := range 10_000 {
			if _, err := fmt.Fprintf(conn, "X-Header-%d: %d\r\n", i, i); err != nil {
				return
			}
		}
		fmt.Fprint(conn, "\r\n")
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", response.StatusCode)
	}
	s.undisturbed()
}

func TestSlowLorisIsCutOffAndDisturbsNoOtherClient(t *testing.T) {
	onEachGateway(t, slowLorisIsCutOffAndDisturbsNoOtherClient)
}

func slowLorisIsCutOffAndDisturbsNoOtherClient(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	const connections = 200
	ended := make(chan struct{}, connections)
	for range connections {
		conn, err := net.Dial("tcp", s.gateway)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nX-Slow: ", host) // without an end
		go func() {
			buffer := make([]byte, 1024)
			for {
				if _, err := conn.Read(buffer); err != nil {
					ended <- struct{}{}
					return
				}
			}
		}()
	}
	for range 20 {
		s.undisturbed()
	}
	deadline := time.After(patience)
	for i := range connections {
		select {
		case <-ended:
		case <-deadline:
			t.Fatalf("%d of %d connections that never finish their headers are still open after %v", connections-i, connections, patience)
		}
	}
}
