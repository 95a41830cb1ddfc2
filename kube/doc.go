// Package kube is the adapter to an API server, any API server. It turns API objects into Worlds, has a runtime run revisions, and
// writes what became of each object to its status.
//
// One controller per kind reads objects from a cache, converts them to values, asks package rollout what should be, and carries that
// out. What the data plane must serve goes to the room world, which makes Worlds. What must run goes to the room fleet, which joins it with
// the decisions of autoscalers and the reports of the runtime. Neither room knows the API server. The rooms images, secret and events are
// what this package asks or tells somebody else. The package decides nothing itself, and it must not know Envoy, xDS, or how a runtime
// runs anything.
package kube
