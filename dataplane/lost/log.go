// Package lost logs requests that are lost: whoever they were sent to may have received them and has not answered, so nobody may send
// them again. It must not know who sent them.
package lost

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

// Log logs lost requests: at most one a second as a warning, since a process that dies may lose thousands at once, and the others at
// debug level. Make it with NewLog.
type Log struct {
	warnings rate.Sometimes
	others   atomic.Int64 // requests since the last warning that were logged at debug level
}

// NewLog makes a Log.
func NewLog() *Log { return &Log{warnings: rate.Sometimes{Interval: time.Second}} }

// Warn logs which request was lost and why, without the request's query, which may hold secrets. More are keys and values.
func (l *Log) Warn(to hclog.Logger, message string, r *http.Request, err error, more ...any) {
	args := append([]any{"method", r.Method, "path", r.URL.Path, "error", err}, more...)
	warned := false
	l.warnings.Do(func() {
		warned = true
		if n := l.others.Swap(0); n > 0 {
			args = append(args, "others-before", n)
		}
		to.Warn(message, args...)
	})
	if !warned {
		l.others.Add(1)
		to.Debug(message, args...)
	}
}
