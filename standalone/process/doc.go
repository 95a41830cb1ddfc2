// Package process runs the replicas of revisions as processes of this machine: the runtime of `sluice up`.
//
// Run says what must run; the Runtime starts, probes, restarts, drains and ends processes until that is so, and reports
// which replicas are ready. Each replica stands behind a queue-proxy, a goroutine of ours, on a loopback port of its own.
//
// The shape: one owner goroutine holds all state (runtime.go, workload.go). Each replica has a goroutine that lives one
// life after the other (replica.go, life.go) and only reports. No process outlives us: replicas die with this process,
// and what survived all the same is found by its record at the next start (record.go).
//
// It must not know of Kubernetes, of routes or of xDS: workloads come in and statuses go out as model values.
package process
