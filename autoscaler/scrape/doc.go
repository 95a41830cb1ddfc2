// Package scrape asks queue-proxies for the load of their replicas and computes the load of revisions from it.
//
// Of many replicas it asks a sample, as Knative does. The sample is large enough for an error of 25 % at 95 % confidence, if requests
// are spread as by a Poisson process. The load of the revision is the average over the sample times the number of replicas. The
// package does not trust replicas: one that hangs, reports wrong figures or never ends its answer harms its own revision only.
//
// The package must not know what the load is for, nor what a revision runs on.
package scrape
