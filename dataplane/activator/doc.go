// Package activator stands in for revisions that have no ready replica, or too few: it holds their requests and hands each to
// a replica that has a slot for it.
//
// An Activator is an ordinary xDS client of the role "activator". The first request for a revision subscribes to the endpoint
// assignment of that name, which in this role lists the replicas' queue-proxies alone; each revision has one dispatcher, which
// is the heart of the package: a fair bounded queue in front of the slots of the replicas. A slot is held before a request is
// sent, so no request ever waits behind a busy replica while another has room. What waits and what runs is reported by LRS,
// at once when a request begins to wait, which is what wakes a revision from zero.
//
// In the request path (exchange) bodies stream both ways and nothing is buffered. A request that no replica can have received
// is sent again, to another one where there is one; a request that may have been received never is.
//
// It must not know Worlds, Kubernetes, how replicas are started or how many there should be: it is told by xDS where they are
// and tells by LRS what there is to do.
package activator
