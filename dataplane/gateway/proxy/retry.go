package proxy

import (
	"errors"
	"net/http"
	"strings"

	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/dataplane/replay"
)

// errRetriable stands for a response with one of the retriable headers.
var errRetriable = errors.New("the response asks for another attempt")

// judge is err, or errRetriable for a response with a retriable header.
func failureOf(p *settings.Retry, res *http.Response, err error) error {
	if err != nil {
		return err
	}
	for i := range p.Headers {
		if p.Headers[i].MatchResponse(res.Header) {
			return errRetriable
		}
	}
	return nil
}

// connectError is a failure to connect to an endpoint: nothing was sent.
type connectError struct{ error }

func (e *connectError) Unwrap() error { return e.error }

// retriable is whether the policy retries a failed attempt. Some errors of net/http's transport have no exported type or value, so it looks
// at their text.
func retriable(p *settings.Retry, err error) bool {
	var connect *connectError
	switch {
	case err == errRetriable: //nolint:errorlint // it comes from judge alone
		return true
	case errors.As(err, &connect):
		return p.ConnectFailure
	case p.RefusedStream && replay.Unprocessed(err):
		return true
	}
	return p.ResetBeforeRequest && stale(err)
}

// stale is whether an attempt failed because its endpoint had closed the connection before it was used.
func stale(err error) bool {
	text := err.Error()
	return errors.Is(err, errPeerGone) || strings.Contains(text, "server closed idle connection") ||
		strings.Contains(text, "cannot rewind body after connection loss") // said when nothing was written
}
