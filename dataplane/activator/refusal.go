package activator

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
)

// errUnsent says that the queue-proxy has not passed the request to its application.
var errUnsent = errors.New("the replica's application is not there")

// isUnsent reports whether a response says so.
func isUnsent(h http.Header) bool {
	values := h[contract.ReasonHeader]
	return len(values) == 1 && values[0] == contract.ReasonUnsent
}

// refusal is an answer that the activator gives itself.
type refusal struct {
	status     int
	reason     string
	retryAfter int // seconds; 0 is none
	message    string
}

func (r *refusal) Error() string { return r.message }

var (
	errQueueFull       = &refusal{503, contract.ReasonQueueFull, 1, "too many requests are waiting for the revision; try again later"}
	errTooMany         = &refusal{503, contract.ReasonTooManyRevisions, 1, "requests are waiting for too many revisions; try again later"}
	errShuttingDown    = &refusal{503, contract.ReasonShuttingDown, 1, "the activator is shutting down; try again"}
	errTimeout         = &refusal{504, contract.ReasonRequestTimeout, 0, "activator request timeout"}
	errUnreachable     = &refusal{502, contract.ReasonUnreachable, 0, "the replica did not answer"}
	errPassedBack      = &refusal{503, contract.ReasonUnsent, 1, "the replica was going and has not received the request"}
	errUnknownRevision = &refusal{404, contract.ReasonUnknownRevision, 0,
		"there is no such revision, or it is not known yet; its Route may be out of date"}
	errTooManyHeaders = &refusal{431, contract.ReasonTooManyHeaders, 0, "too many request headers"}
	errNoRevision     = &refusal{400, contract.ReasonNoRevision, 0,
		"the headers " + contract.RevisionHeader + " and " + contract.NamespaceHeader +
			" must name a revision; the gateway adds them"}
)

// refusalOf is the answer to a request that failed for such a reason; nil when the activator has none of its own.
func refusalOf(err error) *refusal {
	var known *refusal
	var failure *dispatch.Failure
	var full *dispatch.FullError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &failure):
		return &refusal{503, contract.ReasonRevisionFailed, 5, failure.Error()}
	case errors.As(err, &full):
		return tooManyTasks(full)
	case errors.Is(err, dispatch.ErrDeadline):
		return errDeadline
	case errors.Is(err, dispatch.ErrNotOwner):
		return errNotOwner
	case errors.Is(err, dispatch.ErrQueueFull):
		return errQueueFull
	case errors.Is(err, dispatch.ErrTimeout):
		return errTimeout
	case errors.Is(err, dispatch.ErrUnknownRevision):
		return errUnknownRevision
	}
	return nil
}

// grpcUnavailable is the gRPC status of each refusal, on which clients may retry.
const grpcUnavailable = "14"

// answer writes the refusal; a gRPC client gets it as a gRPC status.
func (r *refusal) answer(w http.ResponseWriter, request *http.Request) {
	h := w.Header()
	h.Set(contract.ReasonHeader, r.reason)
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if isGRPC(request) {
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", grpcUnavailable)
		h.Set("Grpc-Message", url.PathEscape(r.message))
		w.WriteHeader(http.StatusOK)
		return
	}
	http.Error(w, r.message, r.status)
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}
