package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// xdsHost is the host by which pods of other namespaces find the controllers.
const xdsHost = "controller." + system + ".svc"

// serviceIP returns the address of a Service in the cluster. The cluster of the tests may have no DNS.
func serviceIP(t testing.TB, namespace, name string) string {
	t.Helper()
	var o corev1.Service
	if err := cluster.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &o); err != nil {
		t.Fatal(err)
	}
	return o.Spec.ClusterIP
}

// applyMesh applies a file of examples/mesh with other names, and with the address of the controllers in the pods' /etc/hosts in place of DNS.
func (s *space) applyMesh(file string, changes ...string) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "mesh", file))
	if err != nil {
		s.Fatal(err)
	}
	const before = "      automountServiceAccountToken: false\n"
	alias := fmt.Sprintf("      hostAliases: [{ip: %s, hostnames: [%s]}]\n", serviceIP(s, system, "controller"), xdsHost)
	changes = append(changes, before, before+alias)
	if err := kubectl([]byte(strings.NewReplacer(changes...).Replace(string(text))), "apply", "-f", "-"); err != nil {
		s.Fatal(err)
	}
}

// output runs kubectl, and returns what it prints.
func output(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "kubectl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// deleteAfter deletes a namespace at the end of the test.
func deleteAfter(t *testing.T, namespace string) {
	t.Cleanup(func() {
		if err := kubectl(nil, "delete", "namespace", namespace, "--wait=false", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
}

// call makes calls from a pod of another namespace, and returns the answers. The pod fails at the first call that fails.
func (s *space) call(namespace, job, target string, calls int) string {
	s.Helper()
	s.applyMesh("client.yaml", "mesh-clients", namespace, "name: caller\n", "name: "+job+"\n", "greeter.default", target+"."+s.name,
		`"1000"`, fmt.Sprintf("%q", fmt.Sprint(calls)))
	s.await("the job to end", func() (any, bool) {
		state := output(s, "-n", namespace, "get", "job", job, "-o", "jsonpath={.status.succeeded}/{.status.failed}")
		return state, strings.Trim(state, "/") != ""
	})
	logs := output(s, "-n", namespace, "logs", "job/"+job)
	if state := output(s, "-n", namespace, "get", "job", job, "-o", "jsonpath={.status.failed}"); state != "" {
		s.Fatalf("the client failed:\n%s", logs[max(0, len(logs)-2000):])
	}
	return logs
}

func TestGRPCClientsOfAnotherNamespaceSeeTheSplitAndWakeRevisions(t *testing.T) {
	s := newSpace(t)
	clients := s.name + "-clients"
	deleteAfter(t, clients)
	s.apply("grpc/1-blue.yaml")
	s.awaitReady("greeter")
	s.apply("grpc/2-green.yaml")
	s.awaitReady("greeter")
	const calls = 1000
	answers := s.call(clients, "split", "greeter", calls)
	blue, green := strings.Count(answers, "Hello blue"), strings.Count(answers, "Hello green")
	// Six standard deviations of the binomial distribution are 87.
	if blue+green != calls || green < 300-87 || green > 300+87 {
		t.Errorf("%d answers of blue and %d of green, want 700 and 300", blue, green)
	}

	o := service{name: "sleeper", target: "sleeper", annotations: window}.object(s.name)
	o.Spec.Template.Spec.Containers[0].Ports = h2c
	s.put(o)
	s.awaitReady("sleeper")
	s.await("no replica", func() (any, bool) { n := s.replicas("sleeper"); return n, n == 0 })
	if answers := s.call(clients, "wake", "sleeper", 10); strings.Count(answers, "Hello sleeper") != 10 {
		t.Errorf("the revision that was at zero answered %q", answers)
	}
}

// bootstrap writes what an Envoy of another owner starts with into a ConfigMap, as docs/mesh.md does.
func (s *space) bootstrap(namespace string, more ...string) {
	s.Helper()
	dir := s.TempDir()
	c := exec.CommandContext(s.Context(), cluster.sluice, append([]string{
		"bootstrap", "--xds", xdsHost + ":18000", "--xds-ca", "/etc/sluice/xds/ca.crt", "--xds-reload", ".", "--admin",
		"unix:/run/envoy/admin.sock",
	}, more...)...)
	c.Dir = dir
	text, err := c.Output()
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "envoy.yaml"), text, 0o600); err != nil {
		s.Fatal(err)
	}
	if err := kubectl(nil, "-n", namespace, "create", "configmap", "sluice-bootstrap", "--from-file", dir); err != nil {
		s.Fatal(err)
	}
}

var ownCertificate = []string{"--xds-cert", "/etc/sluice/xds/tls.crt", "--xds-key", "/etc/sluice/xds/tls.key"}

func TestEnvoyOfAnotherOwnerServesTheSameRoutes(t *testing.T) {
	s := newSpace(t)
	edge := s.name + "-edge"
	deleteAfter(t, edge)
	names := []string{"namespace: edge", "namespace: " + edge, "name: edge", "name: " + edge}
	s.deploy(service{name: "hello", annotations: window})
	s.awaitReady("hello")
	s.applyMesh("envoy.yaml", names...)
	s.bootstrap(edge, ownCertificate...)
	if err := kubectl(nil, "-n", edge, "rollout", "status", "deployment/envoy", "--timeout", patience.String()); err != nil {
		t.Fatal(err, output(t, "-n", edge, "describe", "pods"))
	}
	s.await("no replica", func() (any, bool) { n := s.replicas("hello"); return n, n == 0 })
	address := net.JoinHostPort(serviceIP(t, edge, "envoy"), "80")
	c := &http.Client{Transport: transport(address), Timeout: patience}
	s.await("the Service of the Envoy", func() (any, bool) { // kube-proxy takes its time
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err, err == nil
	})
	if a := ask(t.Context(), c, s.host("hello"), "/"); a.status != http.StatusOK || !strings.Contains(a.body, "World") {
		t.Errorf("the first request through it got %v", a)
	}
	// A change is Ready only when this gateway has it too.
	s.deploy(service{name: "hello", target: "Moon", annotations: window})
	s.awaitReady("hello")
	if a := ask(t.Context(), c, s.host("hello"), "/"); a.status != http.StatusOK || !strings.Contains(a.body, "Moon") {
		t.Errorf("after the change it answers %v", a)
	}
	if a := ask(t.Context(), c, "hello."+s.name+".svc.cluster.local", "/"); a.status != http.StatusNotFound {
		t.Errorf("a cluster-local host answers %v on the port for everybody, want 404", a)
	}
}

func TestEnvoyWithoutACertificateGetsNothing(t *testing.T) {
	s := newSpace(t)
	edge := s.name + "-edge"
	deleteAfter(t, edge)
	s.applyMesh("envoy.yaml", "namespace: edge", "namespace: "+edge, "name: edge", "name: "+edge)
	s.bootstrap(edge) // it has one, and does not present it
	s.await("Envoy to be refused", func() (any, bool) {
		out, _ := exec.CommandContext(t.Context(), "kubectl", "-n", edge, "logs", "deployment/envoy").CombinedOutput() // it may not run yet
		return string(out), strings.Contains(string(out), "gRPC config stream to xds_cluster closed")
	})
	if ready := output(t, "-n", edge, "get", "deployment", "envoy", "-o", "jsonpath={.status.readyReplicas}"); ready != "" {
		t.Errorf("%s Envoys without a certificate are ready", ready)
	}
	// Nor does anybody else get a stream.
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}} //nolint:gosec // it sends nothing
	conn, err := dialer.DialContext(context.Background(), "tcp", net.JoinHostPort(serviceIP(t, system, "controller"), "18000"))
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1)) // TLS 1.3 tells with the first read
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("a client without a certificate got %v, want that one is required", err)
	}
}
