package scrape

import (
	"time"

	"sluice.dev/sluice/model"
)

// Target is one revision whose replicas are to be asked.
type Target struct {
	Revision model.Key
	// UID is the revision's; it comes back in the Result.
	UID string
	// Window is the stable window: replicas that are older than it are asked first.
	Window time.Duration
	// Replicas are where the load of the ready ones is scraped.
	Replicas []model.Scrape
}

// Result is the load of one revision, all its replicas together, as its queue-proxies report it.
type Result struct {
	Revision model.Key
	UID      string
	// At is when the last of the replicas answered.
	At time.Time
	// OK says that the figures below are known; Err says why not.
	OK  bool
	Err error
	// Concurrency is the mean number of requests in flight since the replicas were asked last, Streams the part of it that are
	// streams. ProxiedConcurrency and ProxiedStreams are the parts that came through an activator.
	Concurrency, ProxiedConcurrency, Streams, ProxiedStreams float64
	// Requests is how many arrived per second, ProxiedRequests the part that came through an activator.
	Requests, ProxiedRequests float64
}
