package deployment

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// running is the status of a pod that lacks only the kubelet's probe of the queue-proxy.
func running(ip string) corev1.PodStatus {
	alive := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	return corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		ContainerStatuses: []corev1.ContainerStatus{
			{Name: "user-container", Ready: true, State: alive}, {Name: queueProxyName, State: alive},
		},
	}
}

func TestAPodIsReadyBeforeTheKubeletSaysSo(t *testing.T) {
	const ip = "127.0.22.1" // an address of its own, because the port is fixed
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "8022"))
	if err != nil {
		t.Skipf("this machine has no address %s on its loopback device: %v", ip, err)
	}
	var asked, may atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Path == "/ready")
		if !may.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	defer server.Close()
	go server.Serve(listener)
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	pod := b.pod(b.deployment(w, "a Deployment", hasReplicas(1)), running(ip))
	b.eventually("a question to the pod", asked.Load)
	b.status(w, "a pod that is not ready", func(s model.WorkloadStatus) bool { return s.Running == 1 && len(s.Ready) == 0 })
	may.Store(true)
	b.status(w, "a ready pod", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 && s.Ready[0].Host == ip })
	status := running(ip)
	status.ContainerStatuses[0].Ready = false
	b.become(pod, status)
	b.status(w, "the kubelet's word that the application is not ready", func(s model.WorkloadStatus) bool { return len(s.Ready) == 0 })
}

func TestOnlyPodsThatLackNothingElseAreAsked(t *testing.T) {
	ready := ready("10.0.0.1")
	ready.ContainerStatuses = running("").ContainerStatuses
	notYet := running("10.0.0.1")
	notYet.ContainerStatuses[0].Ready = false
	waiting := running("10.0.0.1")
	waiting.ContainerStatuses[1].State = corev1.ContainerState{}
	periodic := newRevision("hello-00001")
	periodic.Spec.Containers[0].ReadinessProbe = &servingv1.Probe{PeriodSeconds: 5}
	for name, c := range map[string]struct {
		pod  corev1.PodStatus
		r    *servingv1.Revision
		want bool
	}{
		"a starting pod":                      {pod: running("10.0.0.1"), want: true},
		"a pod without an address":            {pod: running("")},
		"a ready pod":                         {pod: ready},
		"an application that is not ready":    {pod: notYet},
		"a queue-proxy that does not run":     {pod: waiting},
		"a user who says how often to probe":  {pod: running("10.0.0.1"), r: periodic},
		"a pod of which nothing is known yet": {pod: corev1.PodStatus{PodIP: "10.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.r
			if r == nil {
				r = newRevision("hello-00001")
			}
			if got := mayAsk(workloadOf(r)) && mayBeReady(podOf(c.pod)); got != c.want {
				t.Errorf("the pod is asked: %t, want %t", got, c.want)
			}
		})
	}
}
