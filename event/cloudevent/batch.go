package cloudevent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"unicode/utf8"
)

// item is one event of a batch, with its bytes.
type item struct {
	event Event
	raw   []byte
}

// Answer is what became of one event of a batch.
type Answer struct {
	// ID and Source are those of the event.
	ID     string `json:"id"`
	Source string `json:"source"`
	// Status is that of the response, Location its header: the task, where it is asynchronous.
	Status   int    `json:"status"`
	Location string `json:"location,omitempty"`
	// ContentType and Body are the response; BodyBase64 stands for Body where it is no text. Cut says that it was longer.
	ContentType string `json:"contentType,omitempty"`
	Body        string `json:"body,omitempty"`
	BodyBase64  []byte `json:"bodyBase64,omitempty"`
	Cut         bool   `json:"cut,omitempty"`
}

// batch serves each event of a batch, all at once. No event is sent on unless all are valid.
func (h *Handler) batch(w http.ResponseWriter, r *http.Request) *problem {
	limits := h.Limits.withDefaults()
	body, wrong := h.read(w, r)
	if wrong != nil {
		return wrong
	}
	items, wrong := split(body, limits.Events)
	if wrong != nil {
		return wrong
	}
	recorders := make([]*recorder, len(items))
	var all sync.WaitGroup
	for i, it := range items {
		recorders[i] = &recorder{header: http.Header{}, limit: limits.Answer}
		next := structuredRequest(r, it.event, it.raw, structuredType)
		all.Go(func() { recorders[i].serve(h.Next, next) })
	}
	all.Wait()
	for _, recorded := range recorders {
		if recorded.panicked != nil {
			panic(recorded.panicked) // where the server expects it, and not in a goroutine that would end the process
		}
	}
	answer(w, items, recorders)
	return nil
}

// serve serves one request. One that its handler gives up is answered with 502.
func (r *recorder) serve(next http.Handler, request *http.Request) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler: // the value that handlers panic with
			r.status, r.header, r.body = http.StatusBadGateway, http.Header{}, nil
		default:
			r.panicked = v
		}
	}()
	next.ServeHTTP(r, request)
	r.WriteHeader(http.StatusOK)
}

// split returns the events of a batch.
func split(body []byte, limit int) ([]item, *problem) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if open, err := decoder.Token(); err != nil || open != json.Delim('[') {
		return nil, &problem{http.StatusBadRequest, "the body of the batch is no JSON array of CloudEvents"}
	}
	var items []item
	for decoder.More() {
		if len(items) == limit {
			return nil, &problem{http.StatusRequestEntityTooLarge,
				fmt.Sprintf("the batch has more than %d events, which is the limit; send several batches", limit)}
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return nil, &problem{http.StatusBadRequest, fmt.Sprintf("event %d of the batch is no JSON: %v", len(items), err)}
		}
		e, err := fromJSON(raw)
		if err != nil {
			return nil, &problem{http.StatusBadRequest, fmt.Sprintf("event %d of the batch is not valid: %v", len(items), err)}
		}
		items = append(items, item{e, raw})
	}
	if _, err := decoder.Token(); err != nil {
		return nil, &problem{http.StatusBadRequest, fmt.Sprintf("the batch has no end: %v", err)}
	}
	if decoder.More() {
		return nil, &problem{http.StatusBadRequest, "the body has more than one JSON array"}
	}
	return items, nil
}

// answer says what became of each event. The status is the largest one, so that a client that looks at it alone repeats the batch if an
// event of it was not accepted.
func answer(w http.ResponseWriter, items []item, recorders []*recorder) {
	status, wait := http.StatusOK, 0
	answers := make([]Answer, len(items))
	for i, r := range recorders {
		status = max(status, r.status)
		if seconds, err := strconv.Atoi(r.header.Get("Retry-After")); err == nil {
			wait = max(wait, seconds)
		}
		answers[i] = Answer{
			ID: items[i].event.ID, Source: items[i].event.Source, Status: r.status,
			Location: r.header.Get("Location"), ContentType: r.header.Get("Content-Type"), Cut: r.cut,
		}
		if utf8.Valid(r.body) {
			answers[i].Body = string(r.body)
		} else {
			answers[i].BodyBase64 = r.body
		}
	}
	body, err := json.Marshal(answers)
	if err != nil {
		panic(fmt.Sprintf("encoding the answers: %v", err)) // their types cannot fail
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(wait))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone
}

// recorder keeps the response to one event.
type recorder struct {
	header http.Header
	status int // 0 before it
	body   []byte
	limit  int
	cut    bool

	panicked any // what the handler panicked with
}

// Header is part of http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader is part of http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
}

// Write is part of http.ResponseWriter. It keeps as much as the limit allows.
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	kept := min(len(b), r.limit-len(r.body))
	r.body = append(r.body, b[:kept]...)
	r.cut = r.cut || kept < len(b)
	return len(b), nil
}
