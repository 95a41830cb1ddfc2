package queueproxy

import (
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// lostPause is the time between two warnings of lost requests: an application that has died may lose thousands at once.
const lostPause = time.Second

// lostLog warns of requests that the application may have received and did not answer. The zero value is ready.
type lostLog struct {
	mu     sync.Mutex
	warned time.Time
	silent int // requests since then of which nothing was said but at debug level
}

// warn tells of a lost request, without its query, which may hold secrets.
func (l *lostLog) warn(logger hclog.Logger, r *http.Request, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	args := []any{"method", r.Method, "path", r.URL.Path, "error", err}
	now := time.Now()
	if now.Sub(l.warned) < lostPause {
		l.silent++
		logger.Debug("the application did not answer", args...)
		return
	}
	if l.silent > 0 {
		args = append(args, "others-before", l.silent)
	}
	l.warned, l.silent = now, 0
	logger.Warn("the application did not answer", args...)
}
