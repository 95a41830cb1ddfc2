// Package scrape asks queue-proxies for the load of their replicas and makes of it the load of revisions.
//
// Of many replicas it asks a sample, as Knative does: enough for an error of a quarter at 95 % confidence if load is
// spread as a Poisson process spreads it. The average over the sample times the number of replicas is the revision's load.
// What a replica says is not trusted: it may hang, lie, or never stop talking, and harms nobody but its own revision.
//
// It must not know what the load is for, nor what a revision runs on.
package scrape
