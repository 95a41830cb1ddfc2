package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// podMetrics is what the API metrics.k8s.io says of one pod (PodMetrics of v1beta1).
type podMetrics struct {
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Timestamp  metav1.Time       `json:"timestamp"`
	Window     metav1.Duration   `json:"window"`
	Containers []struct {
		Usage corev1.ResourceList `json:"usage"`
	} `json:"containers"`
}

// Usage reads from the API metrics.k8s.io what the pods of revisions use, and calls each for every revision that has pods. Where nothing
// serves that API, pods have no figures.
func (r *Runtime) Usage(ctx context.Context, revisions []model.Key, each func(model.Usage)) {
	byNamespace := map[string]map[string]podMetrics{}
	for _, revision := range revisions {
		figures, ok := byNamespace[revision.Namespace]
		if !ok {
			var err error
			figures, err = r.podMetrics(ctx, revision.Namespace)
			r.lacksMetrics(err)
			byNamespace[revision.Namespace] = figures
		}
		r.mu.Lock()
		m := r.members[revision]
		var w model.Workload
		if m != nil {
			w = m.workload
		}
		r.mu.Unlock()
		if m == nil {
			continue
		}
		pods, _, err := r.look(ctx, w)
		if err != nil || len(pods) == 0 {
			continue
		}
		u := model.Usage{Revision: revision, UID: w.UID}
		for _, pod := range pods {
			if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				u.Replicas = append(u.Replicas, usageOf(pod, figures))
			}
		}
		each(u)
	}
}

// podMetrics lists the figures of the pods of all revisions in a namespace, by the name of the pod.
func (r *Runtime) podMetrics(ctx context.Context, namespace string) (map[string]podMetrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("metrics.k8s.io/v1beta1")
	list.SetKind("PodMetricsList")
	if err := r.client.List(ctx, list, client.InNamespace(namespace), client.HasLabels{servingv1.RevisionUIDLabel}); err != nil {
		return nil, fmt.Errorf("reading what pods use: %w", err)
	}
	all := make(map[string]podMetrics, len(list.Items))
	for i := range list.Items {
		text, err := json.Marshal(list.Items[i].Object)
		if err != nil {
			return nil, fmt.Errorf("reading what pods use: %w", err)
		}
		var m podMetrics
		if err := json.Unmarshal(text, &m); err != nil {
			return nil, fmt.Errorf("reading what pods use: %w", err)
		}
		all[m.Metadata.Name] = m
	}
	return all, nil
}

// lacksMetrics logs when the API stops answering, and when it answers again.
func (r *Runtime) lacksMetrics(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.noMetrics != (err != nil) {
		if err != nil {
			r.log.Warn("CPU and memory are not known: revisions that are scaled on them are not scaled down", "error", err)
		} else {
			r.log.Info("CPU and memory are known")
		}
	}
	r.noMetrics = err != nil
}

// usageOf joins a pod with its figures.
func usageOf(pod *corev1.Pod, figures map[string]podMetrics) model.ReplicaUsage {
	u := model.ReplicaUsage{
		Name: pod.Name, Pending: pod.Status.Phase == corev1.PodPending, Ending: pod.DeletionTimestamp != nil, Request: requestOf(pod),
	}
	if pod.Status.StartTime != nil {
		u.Started = pod.Status.StartTime.Time
	}
	if c := podCondition(pod, corev1.PodReady); c != nil {
		u.Ready, u.Turned = c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time
	}
	m, ok := figures[pod.Name]
	if !ok || len(m.Containers) == 0 {
		return u
	}
	u.Measured, u.At, u.Window = true, m.Timestamp.Time, m.Window.Duration
	for _, c := range m.Containers {
		u.CPU += c.Usage.Cpu().MilliValue()
		u.Memory += c.Usage.Memory().Value()
	}
	return u
}

// requestOf is how much CPU a pod requests, in thousandths of a core. A container without a request counts as one core.
func requestOf(pod *corev1.Pod) (sum int64) {
	const core = 1000
	for i := range pod.Spec.Containers {
		if q, ok := pod.Spec.Containers[i].Resources.Requests[corev1.ResourceCPU]; ok && q.Sign() > 0 {
			sum += q.MilliValue()
		} else {
			sum += core
		}
	}
	return sum
}
