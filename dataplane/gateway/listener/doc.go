// Package listener accepts the gateway's connections: sockets and their drain, TLS handshakes, the framing of HTTP/1, and an http.Server
// with the limits of the listener. A version of a listener gives each filter chain a handler, and later versions take over without a
// lost connection.
//
// It must not know routes, clusters, protos, or where versions and certificates come from.
package listener
