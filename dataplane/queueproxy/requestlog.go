package queueproxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/contract"
)

// maxLogged is how many bytes of a value that the client chose go into a line of the request log.
const maxLogged = 1 << 10

// requestLog writes one line of JSON for each request. It has no header but User-Agent, and no query, for these may
// hold secrets.
type requestLog struct {
	query  bool
	labels json.RawMessage

	mu     sync.Mutex
	out    io.Writer
	buffer bytes.Buffer
}

// requestLine is one line. Bytes are those of the response's body; 0 for an upgraded connection.
type requestLine struct {
	Time      time.Time       `json:"time"` // of the arrival
	Method    string          `json:"method"`
	Host      string          `json:"host"`
	Path      string          `json:"path"`
	Query     string          `json:"query,omitempty"`
	Protocol  string          `json:"protocol"`
	Status    int             `json:"status"`
	Reason    string          `json:"reason,omitempty"` // when the response is the queue-proxy's own
	Bytes     int64           `json:"bytes"`
	Seconds   float64         `json:"seconds"`
	UserAgent string          `json:"userAgent,omitempty"`
	Proxied   bool            `json:"proxied,omitempty"`
	Labels    json.RawMessage `json:"labels,omitempty"`
}

func newRequestLog(opts Options) *requestLog {
	if opts.RequestLog == nil {
		return nil
	}
	l := &requestLog{out: opts.RequestLog, query: opts.LogQuery}
	if len(opts.Labels) > 0 {
		l.labels, _ = json.Marshal(opts.Labels) // strings always can be
	}
	return l
}

// write writes the line in one piece. An error of the log must not become one of the request.
func (l *requestLog) write(r *http.Request, e *exchange, took time.Duration) {
	line := requestLine{
		Time:      e.visit.arrived,
		Method:    clipped(r.Method),
		Host:      clipped(r.Host),
		Path:      clipped(r.URL.EscapedPath()),
		Protocol:  r.Proto,
		Status:    e.status,
		Bytes:     e.written,
		Seconds:   took.Seconds(),
		UserAgent: clipped(r.UserAgent()),
		Proxied:   e.visit.proxied,
		Labels:    l.labels,
	}
	if e.status == 0 { // the application's server does the same for a handler that wrote nothing
		line.Status = http.StatusOK
	}
	if e.own {
		line.Reason = e.Header().Get(contract.ReasonHeader)
	}
	if l.query {
		line.Query = clipped(r.URL.RawQuery)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer.Reset()
	encoder := json.NewEncoder(&l.buffer)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(line) == nil {
		_, _ = l.out.Write(l.buffer.Bytes())
	}
}

func clipped(s string) string { return s[:min(len(s), maxLogged)] }
