package activator

import (
	"net/http"
	"sync/atomic"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/upstream"
	"sluice.dev/sluice/dataplane/replay"
)

// errBadBody is for a client that does not deliver the body that it announced.
var errBadBody = &refusal{http.StatusBadRequest, contract.ReasonBadBody, 0, "the body of the request could not be read"}

// upload sends a request's body while the response is read. A request without a body has a nil upload.
type upload struct {
	body         *replay.Reader
	done         chan struct{}
	err          error // once done
	clientFailed atomic.Bool
}

// startUpload starts to send the body.
func (x *exchange) startUpload(c *upstream.Conn) *upload {
	if x.sending == nil {
		return nil
	}
	u := &upload{body: x.sending, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		if u.err = x.writeBody(c, u); u.clientFailed.Load() {
			c.Abort() // the replica waits for a body that will not come
		}
	}()
	return u
}
