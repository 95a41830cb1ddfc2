package queueproxy

import (
	"io"
	"net/http"

	"sluice.dev/sluice/contract"
)

// Readiness answers whoever is to know whether this replica is ready to get requests: 200, or 503 while it is not, and from the
// begin of a drain. It is not part of what the proxy serves: a client has no way to ask, and its requests are all for the application.
func (p *Proxy) Readiness() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Draining() {
			refuse(w, http.StatusServiceUnavailable, contract.ReasonShuttingDown, errShuttingDown.Error())
			return
		}
		if p.opts.Ready != nil && p.opts.Ready(r.Context()) != nil {
			http.Error(w, "the application is not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok") // a client that has gone needs no answer
	})
}
