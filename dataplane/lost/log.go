// Package lost tells of requests that may have been received where they were sent to, and were not answered: they are lost, since
// nobody may send them again. It knows nothing of who sent them.
package lost

import (
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// pause is the time between two warnings: a process that has died may lose thousands of requests at once.
const pause = time.Second

// Log warns of lost requests, at most once a second; the others are told at debug level. The zero value is ready.
type Log struct {
	mu     sync.Mutex
	warned time.Time
	silent int // requests since then
}

// Warn says what was lost and why, without the request's query, which may hold secrets; more are keys and values.
func (l *Log) Warn(to hclog.Logger, message string, r *http.Request, err error, more ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	args := append([]any{"method", r.Method, "path", r.URL.Path, "error", err}, more...)
	now := time.Now()
	if now.Sub(l.warned) < pause {
		l.silent++
		to.Debug(message, args...)
		return
	}
	if l.silent > 0 {
		args = append(args, "others-before", l.silent)
	}
	l.warned, l.silent = now, 0
	to.Warn(message, args...)
}
