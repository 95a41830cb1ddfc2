package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
)

// resumeAfter is how long a drain that a container asked for lasts when no SIGTERM comes, as in Knative: then only that container
// restarts, because its liveness probe failed, and requests go on.
const resumeAfter = time.Second

// drain begins a drain before containers end and at SIGTERM, and ends it.
type drain struct {
	proxy *queueproxy.Proxy

	mu      sync.Mutex
	waiting int  // containers that wait for it
	ending  bool // SIGTERM has come
}

// routes are the pages of the admin port.
func (d *drain) routes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /wait-for-drain", d.wait)
	routes.Handle("GET /ready", d.proxy.Readiness())
	routes.Handle("PUT "+contract.StreamDeadlinePath, d.proxy.StreamDeadline())
	routes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if d.proxy.Draining() {
			http.Error(w, errEnding.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok") // an error means that the client is gone
	})
	return routes
}

// wait is for the preStop hook of containers. It begins a drain, in which probes fail and requests are served, and answers when no request
// has come for the quiet period.
func (d *drain) wait(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.waiting++
	d.mu.Unlock()
	err := d.proxy.Drain(r.Context())
	d.mu.Lock()
	d.waiting--
	d.mu.Unlock()
	time.AfterFunc(resumeAfter, d.resume)
	if err != nil {
		http.Error(w, "the drain is not over", http.StatusServiceUnavailable)
	}
}

// resume ends the drain unless the process ends or another container waits.
func (d *drain) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ending && d.waiting == 0 {
		d.proxy.Resume()
	}
}

// end drains for good.
func (d *drain) end(ctx context.Context) error {
	d.mu.Lock()
	d.ending = true
	d.mu.Unlock()
	return d.proxy.Shutdown(ctx)
}
