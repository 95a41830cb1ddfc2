package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"sluice.dev/sluice/dataplane/replay"
)

// retryPolicy says after which failures a request is sent again, to another endpoint. All of them happen before the
// upstream has seen anything of the request, so that nothing is done twice; of the headers it is for whoever configures them to
// know.
type retryPolicy struct {
	attempts                                  int           // after the first one; 0 is no retry
	perTry                                    time.Duration // to the beginning of the response; 0 is no limit
	connectFailure, refusedStream, idleClosed bool
	headers                                   []headerMatch // of responses that are failures
}

func compileRetry(m *routev3.RetryPolicy) (retryPolicy, error) {
	var p retryPolicy
	if m == nil {
		return p, nil
	}
	p.attempts, p.perTry = 1, durationOr(m.GetPerTryTimeout(), 0)
	if m.GetNumRetries() != nil {
		p.attempts = int(m.GetNumRetries().GetValue())
	}
	headers := false
	for _, on := range strings.Split(m.GetRetryOn(), ",") {
		switch strings.TrimSpace(on) {
		case "connect-failure":
			p.connectFailure = true
		case "refused-stream":
			p.refusedStream = true
		case "reset-before-request":
			p.idleClosed = true
		case "retriable-headers":
			headers = true
		case "":
		default:
			return p, at("retry_on", fmt.Errorf("%q is %w; connect-failure, refused-stream, reset-before-request and retriable-headers are",
				strings.TrimSpace(on), errUnsupported))
		}
	}
	for i, m := range m.GetRetriableHeaders() {
		match, err := compileHeaderMatch(m)
		if err != nil {
			return p, atIndex("retriable_headers", i, err)
		}
		if headers { // without the keyword they mean nothing
			p.headers = append(p.headers, match)
		}
	}
	return p, nil
}

// errRetriable stands for a response with a header by which it is a failure.
var errRetriable = errors.New("the response asks for another attempt")

// judge is err, or errRetriable for a response that is a failure.
func judge(p *retryPolicy, res *http.Response, err error) error {
	if err != nil {
		return err
	}
	for i := range p.headers {
		if p.headers[i].matchResponse(res.Header) {
			return errRetriable
		}
	}
	return nil
}

// connectError is a failure to connect to an endpoint: nothing has been sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// retriable is whether the policy retries a failed attempt. The errors of net/http's transport have no types of their own that
// could be named here.
func retriable(p *retryPolicy, err error) bool {
	var connect *connectError
	switch {
	case err == errRetriable: //nolint:errorlint // it comes from judge alone
		return true
	case errors.As(err, &connect):
		return p.connectFailure
	case p.refusedStream && replay.Unprocessed(err):
		return true
	}
	return p.idleClosed && stale(err)
}

// stale is whether an attempt failed because its endpoint had closed the connection before it was used.
func stale(err error) bool {
	text := err.Error()
	return errors.Is(err, errPeerGone) || strings.Contains(text, "server closed idle connection") ||
		strings.Contains(text, "cannot rewind body after connection loss") // said when nothing was written
}
