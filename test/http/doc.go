// Package http is one table of what HTTP is like through each of our hops: the built-in gateway, Envoy as we configure it, the
// activator and the queue-proxy. Each row sends bytes over a socket to a hop, behind which an application notes the bytes that it gets,
// and says what must hold for the answer and for what the application has seen.
//
// A row is true of every hop, or the hop has a reason why it is not, and then the row must fail there: a reason that has become untrue
// fails the test. docs/http.md is the same table for people, and a test keeps the two from differing.
package http
