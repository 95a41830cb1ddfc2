package activator

import (
	"maps"
	"slices"
)

// takeBody begins to keep the beginning of the request's body, so that another attempt can send it.
func (x *exchange) takeBody() {
	r := x.r
	if x.intake == nil {
		return
	}
	if len(r.Trailer) > 0 { // the server fills them in at the end of the body
		x.trailers = slices.Sorted(maps.Keys(r.Trailer))
	}
	x.sending = x.body.Begin(x.intake, &x.activator.buffers)
}

// rewind prepares another attempt for a request that its replica has not received. It fails when too much of the body has been read; the
// replica is then ejected all the same, and the client gets an answer.
func (x *exchange) rewind() bool {
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

// releaseBody returns the buffer of the body.
func (x *exchange) releaseBody() {
	if x.sending != nil {
		x.body.Release()
	}
}
