// Package session keeps what each client has, and decides what it is sent next and when.
//
// A Stream is one stream of one client. The goroutine that writes to the client owns it and calls its methods one after the other:
// Handle for a request, Advance to send what may be sent, Report, and Delay for when to come back. A Hub is what the streams of a
// server share: the offer.State, who is subscribed to what, and how far each client is. Any goroutine may call the Hub; its mutex
// stays inside of this package, also around the offer.State.
//
// The package starts no goroutine and reads no clock: time is an argument. It must not know gRPC, the encoding of responses, or
// what resources mean.
package session
