package queueproxy

import (
	"io"
	"net/http"

	"sluice.dev/sluice/contract"
)

// Readiness is for the platform: it answers 200 when this replica can get requests, and 503 when it cannot or a drain has begun. A 503
// says after contract.NotReady what the application did when it was probed. The proxy
// does not serve it to clients, whose requests are all for the application.
func (p *Proxy) Readiness() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Draining() {
			refuse(w, http.StatusServiceUnavailable, contract.ReasonShuttingDown, errShuttingDown.Error())
			return
		}
		if p.opts.Ready != nil {
			if err := p.opts.Ready(r.Context()); err != nil {
				http.Error(w, contract.NotReady+err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = io.WriteString(w, "ok") // a client that has gone needs no answer
	})
}
