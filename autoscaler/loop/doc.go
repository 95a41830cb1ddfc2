// Package loop decides, again and again, how many replicas each revision needs: one goroutine owns what is known of all
// of them, gathers their load, asks autoscaler.Decide and hands on what changed.
//
// Load comes as reports of the data plane (LRS: what activators hold, what gateways send to replicas) and as scrapes of
// queue-proxies, in the shape of this package; see load.go. A tick a second samples it, and a revision decides every
// second tick as in Knative. A request that waits does not wait for a tick: its report has the revision decide at once.
// A revision that sleeps (no replica, no load) costs nothing until something concerns it.
//
// It must not know where replicas run, of Kubernetes, of xDS or of routes.
package loop
