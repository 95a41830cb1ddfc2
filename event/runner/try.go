package runner

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// try sends the request of a task, and returns how that ended.
func (r *Runner) try(ctx context.Context, t *task.Task) task.Outcome {
	o := task.Outcome{Owner: r.o.Owner}
	request, err := r.request(ctx, t)
	if err != nil {
		o.Why = "its request cannot be read: " + err.Error()
		if errors.Is(err, store.ErrNotFound) {
			o.Result = &task.Result{Status: http.StatusGone} // no try would change that
		}
		return o
	}
	answer, err := r.o.Send(t.Revision, request)
	if err != nil {
		o.Why = why(ctx, err)
		return o
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	o.Replica, o.Wait = answer.Header.Get(contract.ReplicaHeader), retryAfter(answer.Header)
	result, err := r.result(answer)
	if err != nil {
		o.Why = why(ctx, err)
		return o
	}
	switch reason := answer.Header.Get(contract.ReasonHeader); {
	case reason == "":
	case !tried[reason]:
		o.Unsent, o.Why = true, strings.TrimSpace(string(result.Body))
		return o
	default: // a part of Sluice answered, and not the application
		o.Why = strings.TrimSpace(string(result.Body))
		if task.Retried(result.Status) || result.Status == http.StatusNotFound {
			return o
		}
	}
	o.Result = result
	return o
}

// tried are the reasons of answers of Sluice itself after which a try counts: the request may have reached the application, or no replica
// of the revision can run. After all others it has reached none, and waiting helps.
var tried = map[string]bool{
	contract.ReasonBadBody: true, contract.ReasonBadRequest: true, contract.ReasonBadTask: true, contract.ReasonNoRevision: true,
	contract.ReasonUnknownRevision: true, contract.ReasonTooManyHeaders: true, contract.ReasonUnreachable: true,
	contract.ReasonRevisionFailed: true, contract.ReasonRequestTimeout: true,
}

// why says what was wrong with a try that was not answered.
func why(ctx context.Context, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "its deadline passed while it ran"
	case ctx.Err() != nil:
		return context.Cause(ctx).Error()
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the URL says nothing that the task does not
	}
	return "no answer: " + err.Error()
}

// request makes the request of a try.
func (r *Runner) request(ctx context.Context, t *task.Task) (*http.Request, error) {
	stored, err := r.o.Store.Request(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, stored.Method, "http://"+t.Revision, bytes.NewReader(stored.Body))
	if err != nil {
		return nil, err
	}
	target, err := url.ParseRequestURI(stored.Target)
	if err != nil {
		return nil, err
	}
	request.URL.Path, request.URL.RawPath, request.URL.RawQuery = target.Path, target.RawPath, target.RawQuery
	request.Host = stored.Host
	maps.Copy(request.Header, stored.Header)
	if _, ok := stored.Header["User-Agent"]; !ok {
		request.Header["User-Agent"] = nil // the client's own is none
	}
	request.Header.Set(contract.TaskHeader, t.ID)
	request.Header.Set(contract.TryHeader, strconv.Itoa(t.Tried))
	if !t.Deadline.IsZero() {
		request.Header.Set(contract.DeadlineHeader, t.Deadline.UTC().Format(time.RFC3339Nano))
	}
	return request, nil
}

// result reads the answer to a try.
func (r *Runner) result(answer *http.Response) (*task.Result, error) {
	body, err := io.ReadAll(io.LimitReader(answer.Body, r.o.ResultBytes+1))
	if err != nil {
		return nil, err
	}
	result := &task.Result{Status: answer.StatusCode, Header: keptHeader(answer.Header), Body: body}
	if int64(len(body)) > r.o.ResultBytes {
		result.Body, result.Cut = body[:r.o.ResultBytes], true
		_, _ = io.Copy(io.Discard, answer.Body) // the application may write all of it
	}
	return result, nil
}

// keptHeader is the header of a response without what is about its connection or ours.
func keptHeader(h http.Header) http.Header {
	kept := h.Clone()
	for _, name := range []string{
		"Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		contract.ReplicaHeader, contract.ReasonHeader,
	} {
		kept.Del(name)
	}
	return kept
}

// retryAfter is how long an answer asks to wait; 0 when it does not.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), time.Hour)
	}
	return 0
}
