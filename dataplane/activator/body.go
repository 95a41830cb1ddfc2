package activator

import (
	"maps"
	"net/http"
	"slices"
	"time"
)

// takeBody begins to keep what is read of the request's body, so that it can be sent to another replica.
func (x *exchange) takeBody() {
	r := x.r
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return
	}
	if len(r.Trailer) > 0 { // the server fills them in whenever the end of the body is read
		x.trailers = slices.Sorted(maps.Keys(r.Trailer))
	}
	x.sending = x.body.Begin(r.Body, &x.activator.buffers)
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
	x.revision.unsent(&x.ticket)
	return false
}

// releaseBody ends the reading of the body. An attempt that was given up may still wait for the client; where that cannot be given
// a deadline it does not outlive the client's connection.
func (x *exchange) releaseBody() {
	if x.sending == nil {
		return
	}
	if x.status == 0 && x.r.ProtoMajor == 1 {
		x.w.Header().Set("Connection", "close") // a refusal follows, and what is left of the body must not be in the way of another request
	}
	if !x.body.Release() {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0))
	}
}
