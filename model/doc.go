// Package model is the vocabulary of Sluice: plain values that the other packages hand to each other.
//
// A World is what the data plane must serve, a Workload is what a runtime must run, and a Problem is a user's mistake. They are values
// without behaviour: the package must not know Kubernetes, Envoy, a clock or a network, so that the pure packages (rollout, translator,
// autoscaler) can be built on it alone.
//
// Values are immutable once they have been handed over. An object that did not change keeps its pointer from one World to the next, so
// that the translator redoes only what changed.
package model
