// Package autoscaler decides how many replicas a revision needs, and whether its requests should pass through the activator.
//
// Decide is Knative's algorithm (knative.dev/serving v0.50, pkg/autoscaler and pkg/reconciler/autoscaling/kpa): averages of the load
// over a stable and a panic window, targets, rates, bounds, burst capacity and scale to zero. docs/decisions/
// 0007-autoscaler-differences.md lists where it differs on purpose. Policy makes the policy of a revision from its annotations and a
// configuration with the keys of Knative's config-autoscaler.
//
// The package is pure: time is an argument, load and replicas are values, the decision is a value. It must not know Kubernetes,
// Envoy, a clock, a network, or where load comes from.
package autoscaler
