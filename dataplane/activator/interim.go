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

// interim tracks the informational responses before the final one.
type interim struct {
	// Guarded by mu.
	mu    sync.Mutex
	count int
	over  bool // the attempt is over
}

// inform relays an informational response to a client that understands it. It fails after too many.
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
		x.intake.Want() // reading the body makes the server send 100 Continue
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

// set records whether the attempt is over: another goroutine may still receive a response to it.
func (i *interim) set(over bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = over
}
