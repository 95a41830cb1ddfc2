// Package autoscaler decides how many replicas a revision needs, and whether its requests should pass through
// the activator.
//
// Decide is Knative's algorithm (knative.dev/serving v0.50, pkg/autoscaler and pkg/reconciler/autoscaling/kpa):
// averages of the load over a stable and a panic window, targets, rates, bounds, burst capacity and the careful
// way to zero. What differs on purpose stands in docs/decisions/0007-autoscaler-differences.md. Policy makes the
// policy of a revision from its annotations and a configuration with the keys of Knative's config-autoscaler.
//
// It is pure: time is an argument, load and replicas are values, the answer is a value. It must know no
// Kubernetes, no Envoy, no clock and no network, and it does not say where load comes from.
package autoscaler
