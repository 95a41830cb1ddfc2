// Package rollout decides which revisions exist and how requests are split between them.
//
// It has one function for each thing that a controller has to decide: Service, Configure, Route, Revision, Label and Retire. Each takes
// what the API objects say and returns what should be, down to the conditions, reasons and messages that Knative's users know.
// Preview does it for manifests alone.
//
// The package is pure: time is an argument, a user's mistake is a condition and a model.Problem, and nothing fails. It must not know
// Kubernetes, Envoy, a clock or a network. The order of lists in its input changes nothing, except for the targets of a split: their
// order is kept.
package rollout
