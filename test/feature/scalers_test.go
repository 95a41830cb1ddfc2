package feature

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/address"
)

// startServer runs a server until the test ends, or until the function that it returns is called, and waits until it takes connections.
func startServer(t *testing.T, address, path string, args ...string) (stop func()) {
	t.Helper()
	command := exec.Command(path, args...)
	command.Dir = t.TempDir()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = command.Process.Kill()
			_ = command.Wait()
		}
	}
	t.Cleanup(stop)
	eventually(t, filepath.Base(path)+" takes connections", func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return stop
}

// startRedis runs a Redis server and returns its address.
func startRedis(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		absent(t, "redis-server is not on PATH; install it (Debian: redis-server) to run this test")
	}
	at := address.Free(t)
	_, port, _ := net.SplitHostPort(at)
	startServer(t, at, path, "--port", port, "--bind", "127.0.0.1", "--save", "")
	return at
}

// redis sends one command and returns the first line of the answer.
func redis(t *testing.T, address, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "%s\r\n", command)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "-") {
		t.Fatalf("redis answers %q, %v to %s", line, err, command)
	}
	return strings.TrimSpace(line)
}

// startScaler builds and runs the scaler of the example, and returns its address.
func startScaler(t *testing.T) (at string, stop func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scaler")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = absolute(t, "examples/scaler")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v: %s", err, out)
	}
	at = address.Free(t)
	return at, startServer(t, at, path, "--listen", at)
}

// binding reads a ScalerBinding.
func (s *instance) binding(name string) *unstructured.Unstructured {
	s.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "autoscaling.sluice.dev", Version: "v1alpha1", Kind: "ScalerBinding"})
	if err := s.Get(context.Background(), types.NamespacedName{Namespace: "default", Name: name}, o); err != nil &&
		!meta.IsNoMatchError(err) {
		s.t.Fatal(err)
	}
	return o
}

// bindingSays waits until the condition Ready of a ScalerBinding has a reason, with a part of its message.
func (s *instance) bindingSays(name, reason, part string) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("the ScalerBinding %s says %s", name, reason), func() error {
		conditions, _, _ := unstructured.NestedSlice(s.binding(name).Object, "status", "conditions")
		for _, c := range conditions {
			c, _ := c.(map[string]any)
			if c["type"] == "Ready" && c["reason"] == reason && strings.Contains(fmt.Sprint(c["message"]), part) {
				return nil
			}
		}
		return fmt.Errorf("it has %v", conditions)
	})
}

// The example end to end, with a real Redis server: from zero to the length of the list, and back.
func TestAServiceFollowsAListInRedis(t *testing.T) {
	t.Parallel()
	store := startRedis(t)
	scaler, stop := startScaler(t)
	s := embed(t, "--config", configFile(t, quickToZero))
	s.create(newApp(t, "worker", asleep()))
	text, err := os.ReadFile(absolute(t, "examples/scaler/service.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, binding, _ := strings.Cut(string(text), "\n---\n")
	binding = strings.NewReplacer("127.0.0.1:9191", scaler, "list: jobs", "list: jobs\n      redis: "+store,
		"pollingSeconds: 5", "pollingSeconds: 1", "stabilizationWindowSeconds: 30", "stabilizationWindowSeconds: 0").Replace(binding)
	must(t)(s.kubectl(binding, "apply", "-f", "-"))
	s.bindingSays("jobs", "Followed", "follow the figures")
	s.scaledTo("worker-00001", 0)

	redis(t, store, "RPUSH jobs a b c d e f g")
	s.scaledTo("worker-00001", 2)
	if why := s.revision("worker-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]; !strings.Contains(why, "scaler/jobs asks for") {
		t.Errorf("the revision has two replicas, since %s", why)
	}
	const metric = `sluice_autoscaler_signal_replicas{namespace="default",revision="worker-00001",signal="scaler/jobs"}`
	eventually(t, "the metric of the signal", func() error {
		if got := s.figures("sluice_autoscaler_signal")[metric]; got != 2 {
			return fmt.Errorf("%s is %v, want 2", metric, got)
		}
		return nil
	})
	s.explained(0, []string{"the load ", "scaler/jobs asks for 2: items is 7 at a target of 5 per replica"}, "worker")
	out, err := exec.Command(sluiceBinary, "scaler", "check", scaler, "--plaintext", "--metadata",
		"list=jobs,redis="+store).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "checks passed") {
		t.Errorf("the example does not pass the check of scalers: %v\n%s", err, out)
	}
	redis(t, store, "DEL jobs")
	s.scaledTo("worker-00001", 0)

	redis(t, store, "RPUSH jobs a b c d e f g h i j k")
	s.scaledTo("worker-00001", 3)
	stop()
	s.bindingSays("jobs", "ScalerFailed", "connection refused")
	redis(t, store, "DEL jobs")
	const load = `sluice_autoscaler_stable_value{namespace="default",revision="worker-00001"}`
	eventually(t, "the load alone would ask for no replica", func() error {
		if got, known := s.figures("sluice_autoscaler_stable")[load]; !known || got != 0 {
			return fmt.Errorf("%s is %v", load, got)
		}
		return nil
	})
	s.scaledTo("worker-00001", 3)
	must(t)(s.kubectl("", "delete", "scalerbinding", "jobs"))
	s.scaledTo("worker-00001", 0)
}

const bindingForm = `apiVersion: autoscaling.sluice.dev/v1alpha1
kind: ScalerBinding
metadata:
  name: %s
spec: %s
`

// What the API server can know it refuses; the rest is a condition, and nothing else suffers.
func TestWrongScalerBindings(t *testing.T) {
	t.Parallel()
	s := embed(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	nobody := address.Free(t)
	for spec, want := range map[string]string{
		`{services: [hello]}`: "want one of external and prometheus",
		`{services: [hello], external: {address: "a:1"}, prometheus: {address: "http://a", query: a}, targetValue: 1}`: "want one of " +
			"external and prometheus",
		`{external: {address: "a:1"}}`: "want services by name, a " +
			"selector of their labels, or both",
		`{services: [hello], prometheus: {address: "http://a", query: a}}`:                           "prometheus needs targetValue",
		`{services: [hello], prometheus: {address: "http://a", query: a}, targetValue: -1}`:          "want more than 0",
		`{services: [hello], prometheus: {address: "http://a", query: a}, targetValue: "0"}`:         "want more than 0",
		`{services: [hello], prometheus: {address: "http://a", query: a}, targetValue: many}`:        "should match",
		`{services: [hello], prometheus: {address: "http://u:p@a", query: a}, targetValue: 1}`:       "want a URL without user",
		`{services: [hello], prometheus: {address: "file:///etc/passwd", query: a}, targetValue: 1}`: "want a URL without user",
		`{services: [hello], external: {address: "http://a:1"}}`:                                     "want host:port",
		`{services: [hello], external: {address: "unix:///run/a"}}`:                                  "want host:port",
		`{services: [hello], external: {address: "a:1", tls: {mode: Trust}}}`:                        "Unsupported value",
		`{services: [hello], external: {address: "a:1", tls: {mode: Plaintext, serverName: a}}}`: "mode Plaintext has no " +
			"certificates",
		`{services: [hello], external: {address: "a:1"}, pollingSeconds: -5}`:                            "greater than or equal to 1",
		`{services: [hello], external: {address: "a:1"}, maxReplicas: 0}`:                                "greater than or equal to 1",
		`{services: [hello], external: {address: "a:1"}, fallback: {failureThreshold: 0, replicas: 1}}`:  "greater than or equal to 1",
		`{services: [hello], external: {address: "a:1"}, fallback: {failureThreshold: 1, replicas: -1}}`: "greater than or equal to 0",
		`{services: [hello], external: {address: "a:1"}, metricType: Utilization}`:                       "Unsupported value",
		`{services: [hello], external: {address: "a:1"}, stabilizationWindowSeconds: 100000}`:            "less than or equal to 3600",
	} {
		if out, err := s.kubectl(fmt.Sprintf(bindingForm, "wrong", spec), "apply", "-f", "-"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, %s; want %s", spec, err, out, want)
		}
	}
	for name, c := range map[string]struct{ spec, reason, part string }{
		"gone": {`{services: [hello, nobody], external: {address: "` + nobody + `", tls: {mode: Plaintext}}}`, "ScalerFailed",
			"connection refused"},
		"metadata": {`{services: [hello], external: {address: "169.254.169.254:80", tls: {mode: Plaintext}}}`, "ScalerFailed",
			"may not be dialled"},
		"bundle": {`{services: [hello], external: {address: "` + nobody + `", tls: {caBundle: text}}}`, "InvalidTLS",
			"no certificate in PEM"},
		"secret": {`{services: [hello], external: {address: "` + nobody + `", tls: {secretName: a}}}`, "SecretNotUsable",
			"Secrets cannot be read here"},
		"selector": {`{selector: {matchExpressions: [{key: a, operator: Like}]}, external: {address: "a:1"}}`, "InvalidSelector", "Like"},
		"query": {`{selector: {}, prometheus: {address: "http://` + nobody + `", query: up}, targetValue: "0.5"}`, "ScalerFailed",
			"connection refused"},
	} {
		must(t)(s.kubectl(fmt.Sprintf(bindingForm, name, c.spec), "apply", "-f", "-"))
		s.bindingSays(name, c.reason, c.part)
	}
	s.undisturbed()
}
