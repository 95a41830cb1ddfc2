package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// server runs one pod behind a Kubernetes Service, and returns the address of the Service.
func (s *space) server(name, image string, port int32, arguments ...string) string {
	s.Helper()
	labels := map[string]string{"server": name}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: name, Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: arguments,
			ReadinessProbe: &corev1.Probe{
				PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}},
			},
		}}},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: name},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: port}}},
	}
	for _, o := range []client.Object{pod, service} {
		if err := cluster.Create(s.Context(), o); err != nil {
			s.Fatal(err)
		}
	}
	s.await("the pod "+name+" is ready", func() (any, bool) {
		if err := cluster.Get(s.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err, false
		}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady {
				return pod.Status, c.Status == corev1.ConditionTrue
			}
		}
		return pod.Status, false
	})
	return net.JoinHostPort(service.Spec.ClusterIP, fmt.Sprint(port))
}

// dial connects to a new Service, whose address takes some time to work. It skips the test where the cluster's network is not reachable.
func (s *space) dial(address string) net.Conn {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			s.Skipf("the addresses of the cluster's Services are not reachable from here: %v", err)
		}
	}
}

// The example of an external scaler, with a Redis server, in the cluster. There may be no DNS, so the addresses are those of the Services.
func TestAServiceOfAClusterFollowsAListInRedis(t *testing.T) {
	s := newSpace(t)
	store := s.server("redis", "dev.local/redis:v1", 6379, "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
	scaler := s.server("scaler", "dev.local/scaler:v1", 9191, "--listen", ":9191")
	conn := s.dial(store)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	command := func(text string) {
		t.Helper()
		_, _ = fmt.Fprintf(conn, "%s\r\n", text)
		if line, err := answers.ReadString('\n'); err != nil || strings.HasPrefix(line, "-") {
			t.Fatalf("redis answers %q, %v to %s", line, err, text)
		}
	}
	s.deploy(service{name: "worker", annotations: window})
	s.awaitReady("worker")
	binding := fmt.Sprintf(`apiVersion: autoscaling.sluice.dev/v1alpha1
kind: ScalerBinding
metadata: {name: jobs}
spec:
  services: [worker]
  external: {address: %q, metadata: {list: jobs, redis: %q}, tls: {mode: Plaintext}}
  pollingSeconds: 1
  stabilizationWindowSeconds: 0
`, scaler, store)
	if err := kubectl([]byte(binding), "-n", s.name, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	ready := "--for=condition=Ready"
	if err := kubectl(nil, "-n", s.name, "wait", ready, "scalerbinding/jobs", "--timeout", patience.String()); err != nil {
		t.Fatal(err)
	}
	s.await("no replica", func() (any, bool) { n := s.replicas("worker"); return n, n == 0 })
	command("RPUSH jobs a b c d e f g")
	s.await("a replica for 5 items each", func() (any, bool) { n := s.replicas("worker"); return n, n == 2 })
	command("DEL jobs")
	s.await("no replica", func() (any, bool) { n := s.replicas("worker"); return n, n == 0 })
}
