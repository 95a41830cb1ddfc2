// Package csds is the client status discovery service: it answers what each client has, and what each role is offered. docs/xds.md
// describes the answers.
//
// It asks a client's stream for a View, which the goroutine that owns the stream makes between two responses. It must not touch a
// stream itself, nor know how one decides what to send.
package csds
