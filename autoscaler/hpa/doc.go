// Package hpa decides how many replicas a revision of the class HPA has, as Kubernetes' HorizontalPodAutoscaler does: from the CPU or the
// memory that its replicas use. It is for platforms that have none. The algorithm is documented at
// https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale, and k8s.io/kubernetes/pkg/controller/podautoscaler
// has it; test/hpa compares each count with it.
//
// It is pure: it must not know where figures come from, nor the time but what it is given.
package hpa
