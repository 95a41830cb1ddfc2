// Package deployment is the runtime of a cluster: it runs each revision as a Deployment whose pods have a queue-proxy beside the
// application, and reports from their Pods what became of it.
//
// Deployment and the functions of status.go and failure.go are pure: objects in, values out. Runtime is the only one with a client. It
// takes a model.Workload as package standalone/process does, and reports a model.WorkloadStatus. It knows nothing of Routes, xDS or
// autoscaling.
package deployment
