package realenvoy

import "regexp"

// Disconnected is what an Envoy logs when a stream to its xDS server ends: no complaint where a test ends the server or the stream.
var Disconnected = regexp.MustCompile(`(StreamAggregatedResources|DeltaAggregatedResources|StreamLoadStats) gRPC config stream( to \S+)? closed|` +
	`gRPC config: initial fetch timed out|[Ll]oad report|upstream_reset_(before|after)_response_started`)
