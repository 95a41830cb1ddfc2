package activator

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/intake"
)

var errNoTaskStore = &refusal{http.StatusNotImplemented, contract.ReasonNoTaskStore, 0,
	"this activator keeps no tasks, so the request cannot be answered later: send it without Prefer: respond-async"}

// Runner is what the runner of tasks in this process puts into contract.RunnerHeader.
func (a *Activator) Runner() string { return a.runner }

// fromRunner reports whether the runner of this process sends a request, and removes its proof.
func (a *Activator) fromRunner(r *http.Request) bool {
	values := r.Header[contract.RunnerHeader]
	if values == nil {
		return false
	}
	delete(r.Header, contract.RunnerHeader)
	return len(values) == 1 && subtle.ConstantTimeCompare([]byte(values[0]), []byte(a.runner)) == 1
}

// keeps reports whether a request is for Options.Tasks: it asks to be answered later or is about a task, and its revision takes tasks.
// All other applications get such requests as they are.
func (a *Activator) keeps(r *http.Request, name revisionName) bool {
	if !hasToken(r.Header["Prefer"], "respond-async") && !strings.HasPrefix(r.URL.Path, contract.TaskPath) {
		return false
	}
	revision := a.revisions.get(name)
	return revision != nil && revision.TakesTasks(r.Context())
}

// serveTask has Options.Tasks answer.
func (a *Activator) serveTask(w http.ResponseWriter, r *http.Request, body *intake.Body, name revisionName) {
	if a.opts.Tasks == nil {
		body.Answer(true)
		a.metrics.refused.WithLabelValues(errNoTaskStore.reason).Inc()
		errNoTaskStore.answer(w, r)
		return
	}
	body.Want()
	a.opts.Tasks(&taskWriter{ResponseWriter: w, answer: sync.OnceFunc(func() { body.Answer(true) })}, r, name.namespace, name.name)
}

// taskWriter ends the reading of the body before the header is written.
type taskWriter struct {
	http.ResponseWriter
	answer func()
}

// WriteHeader implements http.ResponseWriter.
func (w *taskWriter) WriteHeader(status int) {
	w.answer()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *taskWriter) Write(b []byte) (int, error) {
	w.answer()
	return w.ResponseWriter.Write(b)
}
