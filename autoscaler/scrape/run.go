package scrape

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// run is one target in one round.
type run struct {
	// Set once.
	scraper *Scraper
	target  Target
	each    func(Result)
	size    int        // of the sample
	order   []*replica // to ask: the sample, then the substitutes for those that fail

	start    sync.Once
	deadline time.Time // of the whole run; set by start

	// Guarded by mu.
	mu     sync.Mutex
	next   int   // in order
	failed error // of the replica that failed last
	left   int   // places of the sample that have no answer yet
	sum    load
	err    error // of the first place that failed
}

// sample fills one place of the sample: it asks one replica after another until one answers or none is left. The caller has taken a
// slot of places and one of open; sample frees both.
func (r *run) sample(ctx context.Context) {
	s := r.scraper
	defer func() { <-s.open }()
	release := sync.OnceFunc(func() { <-s.places })
	defer release()
	impatient := time.AfterFunc(patience, release)
	defer impatient.Stop()

	for {
		next, err := r.take()
		if err != nil {
			r.done(load{}, err)
			return
		}
		limit := time.Now().Add(s.opts.Timeout)
		if r.deadline.Before(limit) {
			limit = r.deadline
		}
		answer, cancel := context.WithDeadline(ctx, limit)
		l, err := s.ask(answer, next)
		cancel()
		if err == nil {
			r.done(l, nil)
			return
		}
		if ctx.Err() != nil || !time.Now().Before(r.deadline) {
			r.done(load{}, err)
			return
		}
		r.fail(err)
	}
}

// take returns the replica to ask next. When none is left, its error is that of the replica that failed last, whichever place had
// asked it: this place may have asked none itself.
func (r *run) take() (*replica, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.order) {
		return nil, fmt.Errorf("no replica is left to ask: %w", r.failed)
	}
	r.next++
	return r.order[r.next-1], nil
}

// fail records why a replica gave no answer. There are at least as many replicas as places, so a place that finds no replica left
// finds this recorded.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = err
}

// done records the answer for one place, and reports when it was the last.
func (r *run) done(l load, err error) {
	r.mu.Lock()
	r.sum = r.sum.plus(l)
	if r.err == nil {
		r.err = err
	}
	r.left--
	over := r.left == 0
	r.mu.Unlock()
	if over {
		r.report()
	}
}

// report hands the result over, and lets the next round ask the target. As in Knative, one place without an answer makes the whole
// result unknown.
func (r *run) report() {
	result := Result{Revision: r.target.Revision, UID: r.target.UID, At: time.Now(), OK: r.err == nil}
	if r.err != nil {
		result.Err = fmt.Errorf("scraping %s: %w", r.target.Revision, r.err)
	} else {
		all := r.sum.times(float64(len(r.order)) / float64(r.size))
		result.Concurrency, result.ProxiedConcurrency = all.concurrency, all.proxiedConcurrency
		result.Streams, result.ProxiedStreams = all.streams, all.proxiedStreams
		result.Requests, result.ProxiedRequests = all.requests, all.proxiedRequests
	}
	s := r.scraper
	r.each(result)
	s.mu.Lock()
	delete(s.busy, r.target.Revision)
	s.mu.Unlock()
	s.runs.Done()
}
