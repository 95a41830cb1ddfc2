package deployment

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/model"
)

// TestPodsWithoutAQueueProxy are ready by the kubelet's word, take requests on the port of the user, and nobody asks them for their load.
func TestPodsWithoutAQueueProxy(t *testing.T) {
	b := newBench(t)
	r := newRevision("alone-00001")
	r.Annotations = map[string]string{"sluice.dev/metrics-source": "envoy"}
	w := b.add(r)
	b.run(w, 1)
	d := b.deployment(w, "one replica", hasReplicas(1))
	spec := d.Spec.Template.Spec
	if len(spec.Containers) != 1 {
		t.Fatalf("the pod has %d containers, want the user's alone", len(spec.Containers))
	}
	c := spec.Containers[0]
	if p := c.ReadinessProbe; p == nil || p.TCPSocket == nil || p.TCPSocket.Port.IntVal != 8080 || p.PeriodSeconds != 1 {
		t.Errorf("the kubelet's probe is %+v, want a TCP connection to 8080 every second", c.ReadinessProbe)
	}
	if c.Lifecycle == nil || c.Lifecycle.PreStop.Sleep == nil {
		t.Errorf("before SIGTERM the container does %+v, want a sleep", c.Lifecycle)
	}
	status := ready("10.0.0.7")
	status.Conditions[0].Status = corev1.ConditionFalse
	pod := b.pod(d, status)
	b.status(w, "a pod that is not ready", func(s model.WorkloadStatus) bool { return s.Running == 1 && len(s.Ready) == 0 })
	b.become(pod, ready("10.0.0.7"))
	s := b.status(w, "a ready pod", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	if want := (model.Endpoint{Host: "10.0.0.7", Port: 8080}); s.Ready[0] != want || len(s.Metrics) != 0 {
		t.Errorf("the endpoint is %v with metrics %v, want %v without", s.Ready[0], s.Metrics, want)
	}
	if err := b.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	b.status(w, "no endpoint while the pod drains", func(s model.WorkloadStatus) bool { return s.Running == 1 && len(s.Ready) == 0 })
}
