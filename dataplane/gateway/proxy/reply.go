package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// modifyResponse changes the headers of a response on its way to the client.
func (p *Proxy) modifyResponse(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	x.status = res.StatusCode
	if len(res.Trailer) > 0 {
		delete(res.Header, "Content-Length") // HTTP/1.1 has trailers after chunks alone
	}
	x.changeHeaders(res.Header, responseChanges)
	if _, ok := res.Header["Content-Type"]; !ok {
		x.writer.Header()["Content-Type"] = nil // or net/http would guess one
	}
	if x.manager.RequestIDInResponse {
		res.Header["X-Request-Id"] = res.Request.Header["X-Request-Id"]
	}
	return nil
}

var errNoHealthyUpstream = errors.New("no healthy upstream")

// failed responds to a request that got no response from an endpoint.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	if x.client.Err() != nil && !x.lost.Load() {
		// The client has gone. If it has not, a reset of the stream tells it that there will be no response.
		panic(http.ErrAbortHandler)
	}
	reply := x.failure(err)
	if x.exhausted {
		reply.flags += ",URX"
	}
	x.reply(w, reply)
}

// failure is Envoy's local reply to a failure.
func (x *exchange) failure(err error) localReply {
	var connect *connectError
	switch cause := context.Cause(x); {
	case errors.Is(cause, errResponseTimeout):
		x.cluster.Stats.RqTimeout.Add(1)
		return localReply{http.StatusGatewayTimeout, "UT", cause.Error()}
	case errors.Is(cause, errIdleTimeout):
		return localReply{http.StatusGatewayTimeout, "SI", cause.Error()}
	case errors.Is(cause, errInterimResponses):
		return localReply{http.StatusBadGateway, "UPE", cause.Error()}
	case errors.Is(cause, errMaxDuration):
		return localReply{http.StatusGatewayTimeout, "DT", cause.Error()}
	case errors.Is(err, errNoHealthyUpstream):
		return localReply{http.StatusServiceUnavailable, "UH", err.Error()}
	case x.lost.Load(), errors.Is(cause, errLost):
		return localReply{http.StatusServiceUnavailable, "UC", resetBefore + "connection termination"}
	case x.request.Failed():
		return localReply{http.StatusBadRequest, "DPE", "the request's body could not be read"}
	case errors.As(err, &connect):
		return localReply{http.StatusServiceUnavailable, "UF", resetBefore + "connection failure"}
	}
	return localReply{http.StatusServiceUnavailable, "UC", resetBefore + "connection termination"}
}

// resetBefore begins Envoy's body of a reply to a request whose upstream connection was lost.
const resetBefore = "upstream connect error or disconnect/reset before headers. reset reason: "

// localReply is a response of the gateway's own.
type localReply struct {
	status int
	// flags are Envoy's short names for the reason; empty when nothing went wrong.
	flags string
	body  string
}

// flagsHeader carries the response flags, which Envoy has only in its access log.
const flagsHeader = "X-Envoy-Response-Flags"

// reply writes a local reply; a gRPC client gets it as a gRPC status.
func (x *exchange) reply(w http.ResponseWriter, reply localReply) {
	x.status, x.flags = reply.status, reply.flags
	h := w.Header()
	if reply.flags != "" {
		h.Set(flagsHeader, reply.flags)
	}
	x.changeHeaders(h, responseChanges)
	if settings.IsGRPC(x.view.Request) {
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", grpcStatus(reply.status))
		h.Set("Grpc-Message", url.PathEscape(reply.body))
		w.WriteHeader(http.StatusOK)
		return
	}
	if reply.body != "" && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "text/plain")
	}
	h.Set("Content-Length", strconv.Itoa(len(reply.body)))
	w.WriteHeader(reply.status)
	if reply.body != "" && x.view.Method != http.MethodHead {
		_, _ = io.Copy(w, strings.NewReader(reply.body)) // the client may be gone
	}
}

// grpcStatus is gRPC's mapping of HTTP to gRPC status codes.
func grpcStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "13" // INTERNAL
	case http.StatusUnauthorized:
		return "16" // UNAUTHENTICATED
	case http.StatusForbidden:
		return "7" // PERMISSION_DENIED
	case http.StatusNotFound:
		return "12" // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "14" // UNAVAILABLE
	}
	return "2" // UNKNOWN
}
