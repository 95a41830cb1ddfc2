package resource

import "time"

// LoadReport is the load that one client has seen since its last report.
type LoadReport struct {
	Role   uint8
	Client string // node id
	Stream uint64 // tells the streams of this server apart
	// Interval is the time that the report covers: that of the first cluster which gives one, else the time since the last report.
	Interval time.Duration
	Clusters []ClusterLoad // may be empty: the client is connected and has no load
	// Ended says that the stream is over. It comes once, without clusters: from now on the requests that the client's earlier reports
	// had in progress are unknown.
	Ended bool
}

// ClusterLoad is the load of one cluster's endpoints in one zone, as one client sees it.
type ClusterLoad struct {
	Cluster, Zone string
	Interval      time.Duration // the time that Issued, Succeeded, Failed, Concurrency and Streams cover

	Issued, Succeeded, Failed uint64 // requests in the interval
	InProgress                uint64 // requests now

	Concurrency float64 // request-seconds in the interval, streams included
	Streams     float64 // stream-seconds in the interval: the part of Concurrency that upgraded connections and gRPC calls have
	Waiting     float64 // requests that wait for an endpoint now
	Oldest      float64 // for how long the first of them has waited, in seconds
	Averaged    bool    // the client reports Concurrency; Envoy and gRPC clients report only the counts
}
