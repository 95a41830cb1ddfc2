// Package process runs the replicas of revisions as processes of this machine: the runtime of `sluice up`.
//
// Run sets what must run. The Runtime starts, probes, restarts, drains and ends processes until that is so, and reports
// which replicas are ready. Each replica has a queue-proxy, a goroutine of ours, on a loopback port of its own.
//
// One owner goroutine holds all state (runtime.go, workload.go). Each replica has a goroutine that runs one life after
// the other (replica.go) and only reports; a life goes from the start of the replica's containers to their end (life.go).
// Replicas end with this process. When it was killed, EndOrphans or the next start finds what has survived by its records and ends it
// (record.go).
//
// The package must not know Kubernetes, routes or xDS: workloads come in and statuses go out as model values.
package process
