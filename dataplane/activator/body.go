package activator

import (
	"maps"
	"slices"
)

// takeBody begins to keep what is read of the request's body, so that it can be sent to another replica.
func (x *exchange) takeBody() {
	r := x.r
	if x.intake == nil {
		return
	}
	if len(r.Trailer) > 0 { // the server fills them in whenever the end of the body is read
		x.trailers = slices.Sorted(maps.Keys(r.Trailer))
	}
	x.sending = x.body.Begin(x.intake, &x.activator.buffers)
}

// again tells whether a request that its replica has not looked at can be sent again, and makes it ready for that. Where it cannot,
// because too much of its body has been read, the replica is left alone all the same and the client is told.
func (x *exchange) again() bool {
	if x.sending == nil {
		return true
	}
	if next, ok := x.body.Rewind(); ok {
		x.sending = next
		return true
	}
	x.revision.Unsent(&x.Ticket)
	return false
}

// releaseBody gives the memory of the body back.
func (x *exchange) releaseBody() {
	if x.sending != nil {
		x.body.Release()
	}
}
