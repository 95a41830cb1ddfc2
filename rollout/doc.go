// Package rollout decides which revisions exist and how requests are split between them: Plan.
//
// It is made of parts that can be called one by one, as a controller per kind does: Service, Configure, Route,
// Revision, Label and Retire. Each takes what the API objects say and returns what should be, down to the conditions,
// reasons and messages that Knative's users know. Plan puts them together for everything that one Service owns.
//
// The package is pure: time is an argument, a user's mistake is a condition and a model.Problem, and nothing fails.
// It must not know Kubernetes, Envoy, a clock or a network. The order of lists in its input changes nothing, save for
// the targets of a split: those keep theirs.
package rollout
