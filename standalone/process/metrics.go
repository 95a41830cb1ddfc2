package process

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// metrics serves the metrics of all queue-proxies of this process, each at a URL of its own as in a cluster. Only RoundTrip
// resolves these URLs: if they had an address, any process of the machine could read them.
type metrics struct {
	mu      sync.RWMutex
	proxies map[string]http.Handler // guarded by mu; by URL
}

// add registers the metrics of the proxy at a port and returns their URL.
func (m *metrics) add(port int, figures http.Handler) string {
	url := metricsURL(port)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.proxies[url] = figures
	return url
}

func (m *metrics) remove(port int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.proxies, metricsURL(port))
}

func metricsURL(port int) string {
	return "http://replicas.invalid/" + strconv.Itoa(port) + "/metrics"
}

// Figures serves requests for the metrics of replicas, at the URLs in WorkloadStatus.
func (r *Runtime) Figures() http.RoundTripper { return r.metrics }

// RoundTrip implements http.RoundTripper.
func (m *metrics) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.RLock()
	figures := m.proxies[r.URL.String()]
	m.mu.RUnlock()
	page := &page{header: http.Header{}, status: http.StatusOK}
	if figures == nil {
		figures = http.NotFoundHandler()
	}
	figures.ServeHTTP(page, r)
	return &http.Response{
		StatusCode: page.status, Status: strconv.Itoa(page.status) + " " + http.StatusText(page.status), Header: page.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(&page.body), ContentLength: int64(page.body.Len()), Request: r,
	}, nil
}

// page is a response in memory.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (p *page) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *page) WriteHeader(status int) { p.status = status }

// Write implements http.ResponseWriter.
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }
