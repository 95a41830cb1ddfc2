// Package tasks wires the parts of asynchronous tasks in the process of an activator: the intake, the runner, which sends tasks to that
// activator, and the sink. Which store they use is up to the process.
package tasks

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/event/cloudevent"
	"sluice.dev/sluice/event/intake"
	"sluice.dev/sluice/event/runner"
	"sluice.dev/sluice/event/sink"
	"sluice.dev/sluice/event/store"
)

// drain is how long tasks that run may go on when the process ends. Those that take longer are run again at the next start.
const drain = 10 * time.Second

// Options of Tasks. Allow may be empty.
type Options struct {
	// Allow are hosts and networks for callbacks that are not public; see sink.Options.
	Allow  []string
	Logger hclog.Logger
}

// Tasks are the parts. They refuse tasks until Open has given them a store.
type Tasks struct {
	logger hclog.Logger
	sink   *sink.Sink
	parts  atomic.Pointer[parts]
}

type parts struct {
	store  store.Store
	intake *intake.Intake
	runner *runner.Runner
}

// New makes Tasks.
func New(o Options) (*Tasks, error) {
	s, err := sink.New(sink.Options{Allow: o.Allow})
	if err != nil {
		return nil, err
	}
	return &Tasks{logger: o.Logger, sink: s}, nil
}

// Open begins to use a store, and sends tasks to an activator at an address. key is its Runner.
func (t *Tasks) Open(s store.Store, address, key string) *runner.Runner {
	r := runner.New(runner.Options{
		Store: s, Owner: rand.Text(), Send: send(address, key), Logger: t.logger, //nolint:bodyclose // the runner closes it
		Deliver: func(ctx context.Context, url string, header http.Header, body []byte) (bool, error) {
			return t.sink.Send(ctx, sink.Message{URL: url, Header: header, Body: body})
		},
	})
	in := intake.New(intake.Options{Store: s, CheckURL: t.sink.Check, Cancelled: r.Cancelled})
	t.parts.Store(&parts{s, in, r})
	return r
}

// send returns what sends a request of a revision to the activator.
func send(address, key string) func(string, *http.Request) (*http.Response, error) {
	dialer := &net.Dialer{}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	return func(revision string, r *http.Request) (*http.Response, error) {
		namespace, name, _ := strings.Cut(revision, "/")
		r.URL.Host = "activator" // one pool of connections, for all revisions
		r.Header.Set(contract.NamespaceHeader, namespace)
		r.Header.Set(contract.RevisionHeader, name)
		r.Header.Set(contract.RunnerHeader, key)
		return transport.RoundTrip(r)
	}
}

// Run runs tasks until ctx ends, lets those in flight finish for some time, and closes the store.
func (t *Tasks) Run(ctx context.Context) error {
	p := t.parts.Load()
	cut, stop := context.WithCancel(context.Background())
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(drain, stop) })()
	p.runner.Run(ctx, cut)
	return p.store.Close()
}

// Serve answers for an activator; see activator.Options.
func (t *Tasks) Serve(w http.ResponseWriter, r *http.Request, namespace, revision string) {
	p := t.parts.Load()
	if p == nil {
		notYet(w)
		return
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.intake.Serve(w, r, namespace, revision) })
	if strings.HasPrefix(r.URL.Path, contract.TaskPath) {
		answer(w, r)
		return
	}
	(&cloudevent.Handler{Next: answer}).ServeHTTP(w, r)
}

// Admin answers operators.
func (t *Tasks) Admin(w http.ResponseWriter, r *http.Request) {
	if p := t.parts.Load(); p != nil {
		p.intake.Admin(w, r)
		return
	}
	notYet(w)
}

// Backlog is how many tasks of each revision wait in the store.
func (t *Tasks) Backlog() map[string]int {
	if p := t.parts.Load(); p != nil {
		return p.runner.Backlog()
	}
	return nil
}

func notYet(w http.ResponseWriter) {
	w.Header().Set(contract.ReasonHeader, contract.ReasonTaskStore)
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the task store is not open yet; try again", http.StatusServiceUnavailable)
}
