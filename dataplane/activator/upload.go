package activator

import (
	"net/http"
	"sync/atomic"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/replay"
)

// errBadBody is for a client that does not deliver the body that it promised.
var errBadBody = &refusal{http.StatusBadRequest, contract.ReasonBadBody, 0, "the body of the request could not be read"}

// upload is the sending of a request's body beside the reading of the response. A nil upload is that of a request without one.
type upload struct {
	body         *replay.Reader
	done         chan struct{}
	err          error // once done
	clientFailed atomic.Bool
}

// startUpload starts to send the body.
func (x *exchange) startUpload(c *conn) *upload {
	if x.sending == nil {
		return nil
	}
	u := &upload{body: x.sending, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		if u.err = x.writeBody(c, u); u.clientFailed.Load() {
			c.abort() // the replica waits for a body that will not come
		}
	}()
	return u
}
