package activator

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/replay"
)

// continuePatience is how long a replica that was asked whether it wants the body has to answer; then it is sent all the same.
const continuePatience = time.Second

// errUnwanted says that the replica answered without the body.
var errUnwanted = errors.New("the replica did not want the body")

// errBadBody is for a client that does not deliver the body that it promised.
var errBadBody = &refusal{http.StatusBadRequest, ReasonBadBody, 0, "the body of the request could not be read"}

// upload is the sending of a request's body beside the reading of the response. A nil upload is that of a request without one.
type upload struct {
	body         *replay.Reader
	wanted       chan bool // says whether the replica wants the body; nil when it was not asked
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
	if x.r.Header["Expect"] != nil {
		u.wanted = make(chan bool, maxInformational+1)
	}
	go func() {
		defer close(u.done)
		if !u.awaitWish(x) {
			u.err = errUnwanted
			return
		}
		if u.err = x.writeBody(c, u); u.clientFailed.Load() {
			c.abort() // the replica waits for a body that will not come
		}
	}()
	return u
}

// mayGo says whether the replica wants the body.
func (u *upload) mayGo(wanted bool) {
	if u != nil && u.wanted != nil {
		u.wanted <- wanted
	}
}

func (u *upload) awaitWish(x *exchange) bool {
	if u.wanted == nil {
		return true
	}
	timer := time.NewTimer(continuePatience)
	defer timer.Stop()
	select {
	case wanted := <-u.wanted:
		return wanted
	case <-timer.C:
		return true
	case <-x.ctx.Done():
		return false
	}
}
