// Package clients tests the xDS server with clients that others have written. It starts the real binary for each client and runs the
// same scenarios with it, as far as the client supports them. A client is either in the test's process (grpc-go), or a program that
// reads commands from its standard input (js, python, istio), or a proxy to which the test sends HTTP requests (mosn, Envoy, and our
// own gateway for comparison).
//
// It must not know how the server keeps its promises: it applies objects and sees the responses that clients get.
package clients
