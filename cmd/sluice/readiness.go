package main

import (
	"context"
	"net/http"
	"sync"
)

// readiness is whether everything that has to serve does: the gateway says so, once.
type readiness struct {
	once    sync.Once
	mu      sync.Mutex
	serving chan struct{}
}

func (r *readiness) channel() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.serving == nil {
		r.serving = make(chan struct{})
	}
	return r.serving
}

// set says that the gateway serves.
func (r *readiness) set() { r.once.Do(func() { close(r.channel()) }) }

// wait returns when the gateway serves, when the context ends, or with the error of a part that failed before.
func (r *readiness) wait(ctx context.Context, s *stages) error {
	select {
	case <-r.channel():
		return nil
	case <-ctx.Done():
		return nil
	case err := <-s.failed:
		return err
	}
}

// ServeHTTP answers 200 when everything serves and 503 before.
func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-r.channel():
		_, _ = w.Write([]byte("ok\n"))
	default:
		http.Error(w, "the gateway does not serve yet", http.StatusServiceUnavailable)
	}
}
