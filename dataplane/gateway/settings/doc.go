// Package settings holds plain values that say what the built-in gateway is to do: a listener and its filter chains, an HTTP connection
// manager, routes by host, a cluster and its endpoints. Package config makes them out of Envoy's resources, and the request path reads
// them. They are immutable, so one version is shared by all requests without a lock.
//
// Beside the values stand the choices that follow from them and a request alone: which filter chain, virtual host, route and cluster,
// which headers, which redirect. It builds on the standard library, and must not know protos, connections, counters, or the clock.
package settings
