package deployment

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/model"
)

// TestEndpointsOfEitherFamily: an endpoint is the first address of its pod, as in Kubernetes' EndpointSlices of one family.
func TestEndpointsOfEitherFamily(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 3)
	d := b.deployment(w, "three replicas", hasReplicas(3))
	for _, ips := range [][]string{{"fd00::7"}, {"fd00::8", "10.0.0.8"}, {"10.0.0.9", "fd00::9"}} {
		status := ready(ips[0])
		status.PodIPs = nil
		for _, ip := range ips {
			status.PodIPs = append(status.PodIPs, corev1.PodIP{IP: ip})
		}
		b.pod(d, status)
	}
	want := []model.Endpoint{{Host: "10.0.0.9", Port: 8012}, {Host: "fd00::7", Port: 8012}, {Host: "fd00::8", Port: 8012}}
	s := b.status(w, "three ready pods", func(s model.WorkloadStatus) bool { return len(s.Ready) == len(want) })
	for i, e := range want {
		if s.Ready[i] != e {
			t.Errorf("endpoint %d is %v, want %v", i, s.Ready[i], e)
		}
	}
	if got, want := s.Metrics[len(s.Metrics)-1].URL, "http://[fd00::8]:9090/metrics"; got != want {
		t.Errorf("the metrics of the last pod are at %s, want %s", got, want)
	}
}
