// Package xds serves Envoy resources to Envoy, proxyless gRPC clients, the built-in gateway and the activator: an aggregated
// discovery service, incremental (delta) and state-of-the-world, over one gRPC port.
//
// Resources are stored once, as bytes, and shared by all clients. Apply records what changed; every stream that wants it carries
// the change out by itself, in the order of the tables in order.go: clusters and endpoints first, then, once these are
// acknowledged, listeners and routes, and at last removals. A stream is one reader and one writer; a client that is slow, silent
// or wrong delays only itself.
//
// Beside it load reports come in (LRS), and who is connected is told: both as plain values, to whoever asked for them. What each
// client has is told to who asks (CSDS); docs/xds.md says how.
//
// The server's promises are numbered, and each has its tests in files that begin with its number: promise01_make_before_break,
// 03_order, 04_endpoints_again, 06_nack and the others of 06 (refusals), 07_crossing and 07_delta, 08_acks and 08_nonces,
// 09_wildcard, 10_names and 10_types, 11_versions, 12_cost, 13_churn, 13_halfopen, 13_large and 13_slow. Three are about what is
// sent, and so are tested where that is made, in translator/promises_test.go: 02 (no share for a revision that was never ready),
// 05 (each cluster has its own assignment) and 14 (what is sent was validated, and leads somewhere).
//
// The package must not know what the resources mean to Sluice (services, revisions, routes) nor where they come from. Of a
// resource's content it reads only which endpoints a cluster and which routes a listener will make the client ask for.
package xds
