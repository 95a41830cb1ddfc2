package config

import (
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

func compileRetry(m *routev3.RetryPolicy) (settings.Retry, error) {
	var p settings.Retry
	if m == nil {
		return p, nil
	}
	p.Max, p.PerTry = 1, durationOr(m.GetPerTryTimeout(), 0)
	if m.GetNumRetries() != nil {
		p.Max = int(m.GetNumRetries().GetValue())
	}
	headers := false
	for _, on := range strings.Split(m.GetRetryOn(), ",") {
		switch strings.TrimSpace(on) {
		case "connect-failure":
			p.ConnectFailure = true
		case "refused-stream":
			p.RefusedStream = true
		case "reset-before-request":
			p.ResetBeforeRequest = true
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
			p.Headers = append(p.Headers, match)
		}
	}
	return p, nil
}
