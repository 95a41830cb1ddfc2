// Package activator stands in for revisions that have no ready replica, or too few: it holds their requests and gives each to a replica
// that has a slot for it.
//
// An Activator is an ordinary xDS client of the role contract.Activator. The first request for a revision subscribes to the endpoint
// assignment of that name, which in this role lists only the replicas' queue-proxies. Each revision has a Dispatcher (package dispatch).
// LRS reports what waits and what runs, at once when a request begins to wait, which wakes a revision from zero.
//
// In the request path (exchange) bodies stream both ways and no body is buffered as a whole. The activator retries a request only when it
// is certain that no replica has received it.
//
// The package must not know Worlds, Kubernetes, how replicas are started or how many there should be: xDS says where they are, and LRS
// says how much there is to do.
package activator
