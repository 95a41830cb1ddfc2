// Package http is one table of how each of our hops handles HTTP: the built-in gateway, Envoy as we configure it, the activator and the
// queue-proxy. Each row sends bytes over a socket to a hop. An application behind the hop records the bytes that it gets. The row has
// expectations for the response and for what the application has received.
//
// A row holds for every hop, or the hop has a reason why it does not, and then the row must fail there: if it holds all the same, the
// test fails. docs/http.md has the same table for people, and a test compares the two.
package http
