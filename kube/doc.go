// Package kube is the adapter to an API server, any API server: it turns API objects into Worlds, has revisions
// run by a runtime, and writes back what became of everything as status.
//
// A controller per kind reads objects from a cache, converts them to values, asks package rollout what should
// be, and carries that out. What the data plane must serve goes to an assembler, which hands out Worlds; what
// must run goes to the runtime as Workloads. The package decides nothing itself, and it must not know Envoy,
// xDS, or how a runtime runs anything.
package kube
