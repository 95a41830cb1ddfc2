package dispatch

import "time"

// Assignment is what the control plane says of a revision. It is immutable.
type Assignment struct {
	// Endpoints are the host:port of the replicas that take requests, sorted.
	Endpoints []string
	// Concurrency is how many requests a replica takes at a time; 0 is no limit.
	Concurrency int
	// Timeout is the revision's; 0 is none.
	Timeout time.Duration
	// Activators are the host:port of those that share the revision, sorted.
	Activators []string
	// Failure is why the revision cannot start; nil while nothing is wrong.
	Failure *Failure
	// Behind says that requests come by activators although there are endpoints.
	Behind bool
	// Direct says that the endpoints are applications without a queue-proxy.
	Direct bool
	// Tasks says that the requests are tasks: they wait at one activator alone, the Owner (host:port). HandOver says that the Owner is
	// another activator. MaxWaiting is how many tasks may wait; 0 is the Dispatcher's own bound.
	Tasks      bool
	Owner      string
	HandOver   bool
	MaxWaiting int
	// Start is how the first replica after zero came about.
	Start Start
}

// Start is when a replica was requested, was started and became ready; zero where that is unknown.
type Start struct{ Asked, Started, Ready time.Time }

// Failure is why a revision cannot start.
type Failure struct{ Reason, Message string }

// Error is for the client of a request that waits for the revision.
func (f *Failure) Error() string { return "the revision cannot start: " + f.Reason + ": " + f.Message }

func (f *Failure) equal(other *Failure) bool {
	return f == other || f != nil && other != nil && *f == *other
}
