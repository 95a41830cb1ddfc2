// Package model is the vocabulary of Sluice: plain values that the other packages hand to each other.
//
// A World is what the data plane must serve, a Workload is what a runtime must run, and a Problem is a
// mistake of a user's. All of them are values without behaviour of their own: they know no Kubernetes, no
// Envoy, no clock and no network, so that the pure packages (rollout, translator, autoscaler) can be built
// on them alone.
//
// Values are immutable once they have been handed over. An object that did not change keeps its pointer
// from one World to the next, so that whoever reads a World pays only for what changed.
package model
