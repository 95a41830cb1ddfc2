// Package kube is the adapter to an API server, any API server. It turns API objects into Worlds, has a runtime run revisions, and
// writes what became of each object to its status.
//
// One controller per kind reads objects from a cache, converts them to values, asks package rollout what should be, and carries that
// out. What the data plane must serve goes to the assembler, which makes Worlds; the barrier holds the first World back until it is
// complete; backing knows which revisions activators back. What must run goes to the runtime as Workloads. The package decides
// nothing itself, and it must not know Envoy, xDS, or how a runtime runs anything.
package kube
