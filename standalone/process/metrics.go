package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// metrics serves the figures of all queue-proxies of this process on one loopback address, each under a path of its own:
// a replica in a cluster has an address for that, and here a thousand listeners would serve nobody.
type metrics struct {
	logger   hclog.Logger
	listener net.Listener // nil if there was none to be had: nothing is told then

	mu      sync.RWMutex
	proxies map[int]http.Handler // by the port of the proxy
}

func newMetrics(logger hclog.Logger) *metrics {
	m := &metrics{logger: logger, proxies: map[int]http.Handler{}}
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		logger.Error("the load of replicas cannot be told, so that they are not scaled down", "error", err)
		return m
	}
	m.listener = listener
	return m
}

// add serves a proxy's figures and returns their URL, empty if they cannot be served.
func (m *metrics) add(port int, figures http.Handler) string {
	if m.listener == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proxies[port] = figures
	return fmt.Sprintf("http://%s/replicas/%d/metrics", m.listener.Addr(), port)
}

func (m *metrics) remove(port int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.proxies, port)
}

// run serves until ctx ends.
func (m *metrics) run(ctx context.Context) {
	if m.listener == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /replicas/{port}/metrics", m.serve)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
		m.logger.Error("the load of replicas is not told any more", "error", err)
	}
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) {
	port, _ := strconv.Atoi(r.PathValue("port"))
	m.mu.RLock()
	figures := m.proxies[port]
	m.mu.RUnlock()
	if figures == nil {
		http.Error(w, "there is no such replica", http.StatusNotFound)
		return
	}
	figures.ServeHTTP(w, r)
}
