// Package clients tests the xDS server with clients that nobody here wrote: the real binary is started for each, and the same
// scenarios are run with it, as far as its protocol can. A client is either in the test's process (grpc-go), or a program that
// takes calls to make on its standard input (js, python, istio), or a proxy that is sent HTTP requests (mosn, Envoy, and our own
// gateway for comparison).
//
// It must not know how the server does what it promises: it sees objects that are applied, and what clients are answered.
package clients
