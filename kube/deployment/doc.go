// Package deployment is the runtime of a cluster: it runs each revision as a Deployment whose pods have a queue-proxy beside the
// application, and reports from their Pods what became of it.
//
// Deployment and the functions of status.go and failure.go are pure: objects in, values out. Only Runtime has a client. write.go writes
// Deployments, and early.go asks pods whether they are ready before the kubelet says so. A Runtime takes a model.Workload and reports a
// model.WorkloadStatus, as package standalone/process does. It knows nothing of Routes, xDS or autoscaling.
package deployment
