// Package loop decides, again and again, how many replicas each revision needs. One goroutine owns the state of all revisions: it
// gathers their load, calls autoscaler.Decide and hands on decisions that changed.
//
// Load comes in reports of the data plane (LRS: the requests that activators hold and that gateways send to replicas) and in scrapes
// of queue-proxies; load.go has both. The loop samples it once a second, and a revision decides on every second tick, as in Knative.
// A report of requests that wait has their revision decide at once. A revision without replicas and load costs nothing.
//
// The package must not know where replicas run, Kubernetes, xDS or routes.
package loop
