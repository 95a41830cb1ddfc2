package activator

import (
	"errors"
	"maps"
	"net/http"
	"sync"
)

// maxInformational bounds how many informational responses may precede a response.
const maxInformational = 32

var errTooManyInformational = errors.New("too many informational responses")

// interim is what has come of a response before the final one.
type interim struct {
	mu    sync.Mutex
	count int
	over  bool // nobody waits for the response any more
}

// inform passes an informational response on to a client that knows them. It fails when too many have come.
func (x *exchange) inform(status int, header http.Header) error {
	x.interim.mu.Lock()
	defer x.interim.mu.Unlock()
	if x.interim.over {
		return nil
	}
	if x.interim.count++; x.interim.count > maxInformational {
		return errTooManyInformational
	}
	if status == http.StatusContinue {
		x.intake.Want() // reading the client's body makes the server say Continue to the client
		return nil
	}
	if !x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	h := x.w.Header()
	maps.Copy(h, header)
	x.w.WriteHeader(status)
	for name := range header {
		delete(h, name)
	}
	return nil
}

// set says whether an attempt is over: another goroutine may still have come upon something of it.
func (i *interim) set(over bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = over
}
