// Package xds serves Envoy resources to Envoy, proxyless gRPC clients, the built-in gateway and the activator over one gRPC port: as
// aggregated discovery service and as a service for each type, in the incremental (delta) and the state-of-the-world protocol.
// Beside them it serves load reports (LRS) and what each client has (CSDS).
//
// This package is the gRPC face. It runs the goroutines: for each stream a reader and a writer, and one that reports to the caller.
// It converts requests, encodes responses and holds the limits. What is behind it:
//
//	resource   the values that callers and rooms exchange, and the order of types (pure)
//	offer      which content each role is offered: candidate, last good, NACKs (a state machine)
//	session    what each client has, and what it is sent next
//	csds, lrs  the two other services, with dependencies of their own
//
// The server stores each resource once, as bytes, and all clients share them. Apply records what changed. Each stream sends it by
// itself, in the order of resource.Kinds and resource.Steps: clusters and endpoints first; once the client has acknowledged these,
// listeners and routes; removals last. A client that is slow, silent or broken delays only itself.
//
// The server's promises have numbers, and each has its tests in files that begin with its number: promise01_make_before_break,
// 03_order, 04_endpoints_again, 06_nack and the others of 06 (NACKs), 07_crossing and 07_delta, 08_acks and 08_nonces, 09_wildcard,
// 10_names and 10_types, 11_versions, 12_cost, 13_halfopen, 13_large and 13_slow, and session/promise13_churn. Three are about what
// is sent, so their tests are in translator/promises_test.go: 02 (no share for a revision that was never ready), 05 (each cluster
// has its own assignment) and 14 (what is sent was validated, and what it refers to exists).
//
// The package must not know what the resources mean to Sluice (services, revisions, routes) nor where they come from. Of a
// resource's content it reads only which others a client will subscribe to because of it.
package xds
