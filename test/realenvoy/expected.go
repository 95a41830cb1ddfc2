package realenvoy

import "regexp"

// Disconnected matches what Envoy logs when a stream to its xDS server ends. Tests that end the server or the stream expect it.
var Disconnected = regexp.MustCompile(
	`(StreamAggregatedResources|DeltaAggregatedResources|StreamLoadStats) gRPC config stream( to \S+)? closed|` +
		`gRPC config: initial fetch timed out|[Ll]oad report|upstream_reset_(before|after)_response_started`,
)
