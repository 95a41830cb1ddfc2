// Package upstream makes and keeps the connections to replicas: HTTP/1.1 connections in a pool for each replica, and a transport for
// HTTP/2.
//
// It must not know requests, revisions or slots, nor when a request may be sent again. It says whether a connection was made, and how
// much was written to it.
package upstream
