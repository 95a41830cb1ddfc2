package cloudevent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"sluice.dev/sluice/contract"
)

// Limits bound what a client may send.
type Limits struct {
	// Events is how many events a batch has at most.
	Events int
	// Body is how many bytes the body of a batch, or of an event in structured mode, has at most. An event in binary mode has the limits
	// of any request.
	Body int64
	// Answer is how many bytes of each application's response the answer to a batch has.
	Answer int
}

// DefaultLimits are those of a Handler without any.
var DefaultLimits = Limits{Events: 100, Body: 4 << 20, Answer: 16 << 10}

func (l Limits) withDefaults() Limits {
	if l.Events <= 0 {
		l.Events = DefaultLimits.Events
	}
	if l.Body <= 0 {
		l.Body = DefaultLimits.Body
	}
	if l.Answer <= 0 {
		l.Answer = DefaultLimits.Answer
	}
	return l
}

// Handler reads CloudEvents, and has Next serve one request for each.
type Handler struct {
	Next   http.Handler
	Limits Limits
}

// problem is why a request is refused.
type problem struct {
	status  int
	message string
}

func (p *problem) answer(w http.ResponseWriter) {
	w.Header().Set(contract.ReasonHeader, contract.ReasonBadEvent)
	http.Error(w, p.message, p.status)
}

// ServeHTTP serves a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, wrong := modeOf(r.Header)
	if wrong == nil {
		switch m {
		case none:
			h.Next.ServeHTTP(w, r)
			return
		case binary:
			wrong = h.binary(w, r)
		case structured:
			wrong = h.structured(w, r)
		case batch:
			wrong = h.batch(w, r)
		}
	}
	if wrong != nil {
		wrong.answer(w)
	}
}

func (h *Handler) binary(w http.ResponseWriter, r *http.Request) *problem {
	e, err := fromHeader(r.Header)
	if err != nil {
		return badEvent(err)
	}
	next := r.Clone(r.Context())
	e.tell(next.Header)
	h.Next.ServeHTTP(w, next)
	return nil
}

func (h *Handler) structured(w http.ResponseWriter, r *http.Request) *problem {
	body, wrong := h.read(w, r)
	if wrong != nil {
		return wrong
	}
	e, err := fromJSON(body)
	if err != nil {
		return badEvent(err)
	}
	h.Next.ServeHTTP(w, structuredRequest(r, e, body, r.Header.Get("Content-Type")))
	return nil
}

// structuredRequest is a request like another one, for one event in structured mode. The binding allows that it has the headers of binary
// mode beside, by which others tell events apart without reading bodies.
func structuredRequest(r *http.Request, e Event, body []byte, contentType string) *http.Request {
	next := r.Clone(r.Context())
	for name := range next.Header {
		if len(name) > headerPrefixLength && name[:headerPrefixLength] == headerPrefix {
			next.Header.Del(name) // a client's own must not contradict the event
		}
	}
	for name, value := range map[string]string{"Id": e.ID, "Source": e.Source, "Type": e.Type, "Specversion": e.SpecVersion} {
		next.Header.Set(headerPrefix+name, encodeHeader(value))
	}
	next.Header.Set("Content-Type", contentType)
	next.Header.Set("Content-Length", strconv.Itoa(len(body)))
	next.Body, next.ContentLength, next.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	next.GetBody, next.Trailer = nil, nil
	e.tell(next.Header)
	return next
}

// tell writes what the event says about its task into the headers that say it of any request. What the event says counts more: it knows
// its task, and a batch has one header for many.
func (e *Event) tell(h http.Header) {
	if e.Deadline != "" {
		h.Set(contract.DeadlineHeader, encodeHeader(e.Deadline))
	}
	if e.Priority != "" {
		h.Set(contract.PriorityHeader, encodeHeader(e.Priority))
	}
}

// read reads a body that is no longer than the limit.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	limit := h.Limits.withDefaults().Body
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, unsupported(fmt.Sprintf("the Content-Encoding %.64q is not supported for events in structured mode and batches: "+
			"send them as they are", encoding))
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case err != nil:
		return nil, &problem{http.StatusBadRequest, "the body of the event could not be read: " + err.Error()}
	}
	return body, nil
}

func tooLarge(limit int64) *problem {
	return &problem{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than the %d bytes that an event in structured mode "+
		"or a batch may have; send large data in binary mode, or by reference", limit)}
}

func badEvent(err error) *problem {
	return &problem{http.StatusBadRequest, "the request is no valid CloudEvent: " + err.Error()}
}
