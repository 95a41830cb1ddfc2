package deployment

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/model"
)

// failedCreate is the reason of a Deployment whose pods are refused, by a quota for example.
const failedCreate = "FailedCreate"

// observe returns what the pods of a revision and its Deployment, which may be nil, say. said is what pods have
// said themselves. It leaves out Start, for which Kubernetes' times of whole seconds are too coarse.
func observe(w model.Workload, pods []*corev1.Pod, d *appsv1.Deployment, said answers) model.WorkloadStatus {
	status := model.WorkloadStatus{Revision: w.Revision, UID: w.UID}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var waiting []*corev1.Pod
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		status.Running++
		if pod.DeletionTimestamp != nil {
			continue // it drains
		}
		since, ready := readySince(pod)
		if !ready {
			since, ready = said.yes[pod.UID]
		}
		if !ready {
			waiting = append(waiting, pod)
			continue
		}
		status.Ready = append(status.Ready, model.Endpoint{Host: pod.Status.PodIP, Port: int(servingPort(w))})
		if !w.Direct {
			status.Metrics = append(status.Metrics, model.Scrape{URL: urlOf(pod.Status.PodIP, metricsPort, "/metrics"), Since: since})
		}
	}
	slices.SortFunc(status.Ready, func(a, b model.Endpoint) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortFunc(status.Metrics, func(a, b model.Scrape) int { return cmp.Compare(a.URL, b.URL) })
	status.Failure, status.Short = judge(w, len(status.Ready), failure(w, waiting, d, said))
	return status
}

// steady gives a replica the time since when it is ready that was reported before: the kubelet's is in whole seconds, and comes after that
// of the replica itself.
func steady(status, before *model.WorkloadStatus) {
	for i := range status.Metrics {
		m := &status.Metrics[i]
		for _, old := range before.Metrics {
			if old.URL == m.URL && m.Since.Sub(old.Since).Abs() < confirmation {
				m.Since = old.Since
			}
		}
	}
}

// judge returns what a failure of some pods is for the revision: a failure while none is ready, and while some are no more than a lack of
// room.
func judge(w model.Workload, ready int, f *model.Failure) (_ *model.Failure, short string) {
	switch {
	case f == nil || ready == 0:
		return f, ""
	case ready < w.Replicas && (f.Reason == corev1.PodReasonUnschedulable || f.Reason == failedCreate):
		return nil, f.Message
	}
	return nil, ""
}

// urlOf is where a page of a pod's queue-proxy is.
func urlOf(ip string, port int, path string) string {
	return "http://" + net.JoinHostPort(ip, strconv.Itoa(port)) + path
}

// readySince says whether a pod gets requests, and since when.
func readySince(pod *corev1.Pod) (time.Time, bool) {
	c := podCondition(pod, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue || pod.Status.PodIP == "" {
		return time.Time{}, false
	}
	return c.LastTransitionTime.Time, true
}

// hasStarted says whether the process of a pod's serving container exists.
func hasStarted(w model.Workload, pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == w.Containers[0].Name && s.State.Running != nil
	})
}
