package scrape

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// run is one target in one round.
type run struct {
	scraper *Scraper
	target  Target
	each    func(Result)
	size    int        // of the sample
	order   []*replica // those to ask: the sample, then those who stand in for failed ones

	start    sync.Once
	deadline time.Time // for all of it

	mu   sync.Mutex
	next int // in order
	left int // places of the sample that have no answer yet
	sum  load
	err  error // the first
}

// sample fills one place of the sample: it asks until one replica has answered or none is left. It has a place and an
// opening of the scraper and gives them back.
func (r *run) sample(ctx context.Context) {
	s := r.scraper
	defer func() { <-s.open }()
	release := sync.OnceFunc(func() { <-s.places })
	defer release()
	impatient := time.AfterFunc(patience, release)
	defer impatient.Stop()

	var failed error
	for {
		next := r.take()
		if next == nil {
			r.done(load{}, exhausted(failed))
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
		failed = err
		if ctx.Err() != nil || !time.Now().Before(r.deadline) {
			r.done(load{}, err)
			return
		}
	}
}

var errExhausted = errors.New("no replica is left to ask")

// exhausted is why a place of the sample has no answer. Others may have asked all replicas before it asked any.
func exhausted(last error) error {
	if last == nil {
		return errExhausted
	}
	return fmt.Errorf("%w: %w", errExhausted, last)
}

// take returns the replica to ask next, nil when there is none left.
func (r *run) take() *replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == len(r.order) {
		return nil
	}
	r.next++
	return r.order[r.next-1]
}

// done notes the answer for one place, and reports when it was the last.
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

// report hands the result over, and the target to the next round. As in Knative one place without an answer makes the
// whole of it unknown.
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
