package scrape

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/model"
)

const (
	// maxPage is how many bytes of a page are read; a queue-proxy's has about 5 KiB.
	maxPage = 256 << 10
	// patience is how long an answer may take before the next replica is asked beside it. A replica that takes longer costs memory,
	// but holds up no other.
	patience = 100 * time.Millisecond
	// maxOpen is how many answers are awaited at a time, slow ones included.
	maxOpen = 1024
)

// errMoved refuses redirects: a replica must not direct the control plane to other servers.
var errMoved = errors.New("it redirects, want the page itself")

// Options bound a Scraper. Zero fields have the defaults given.
type Options struct {
	// Parallel is how many replicas are asked at a time, not counting those that are slow to answer; 0 means 64.
	Parallel int
	// Timeout bounds the answer of one replica; 0 means 3 s, as in Knative. A revision has twice that altogether.
	Timeout time.Duration
	// Transport carries the requests; nil means over the network.
	Transport http.RoundTripper
}

// Scraper asks replicas for their load and remembers their last readings. It is made by New.
type Scraper struct {
	// Set once.
	opts   Options
	client *http.Client

	places chan struct{} // Parallel
	open   chan struct{} // maxOpen
	pages  sync.Pool
	runs   sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	round    uint64
	busy     map[model.Key]struct{}
	replicas map[string]*replica
}

// New returns a Scraper that knows no replicas.
func New(opts Options) *Scraper {
	opts.Parallel = cmp.Or(opts.Parallel, 64)
	opts.Timeout = cmp.Or(opts.Timeout, 3*time.Second)
	if opts.Transport == nil {
		opts.Transport = overNetwork(opts.Parallel)
	}
	return &Scraper{
		opts: opts,
		client: &http.Client{
			Transport:     opts.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return errMoved },
		},
		places:   make(chan struct{}, opts.Parallel),
		open:     make(chan struct{}, maxOpen),
		pages:    sync.Pool{New: func() any { return new(bytes.Buffer) }},
		busy:     map[model.Key]struct{}{},
		replicas: map[string]*replica{},
	}
}

// overNetwork returns a transport for so many replicas at a time.
func overNetwork(parallel int) *http.Transport {
	dialer := &net.Dialer{KeepAlive: -1}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		DisableCompression:     true, // or a small answer could become a large page
		MaxIdleConns:           maxOpen,
		MaxIdleConnsPerHost:    parallel, // one host may serve the load of many replicas
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
		WriteBufferSize:        1 << 10,
	}
}

// Scrape begins a round: it asks replicas of all targets, and calls each once for every target that has replicas, from several
// goroutines at a time. It returns when all replicas have been asked; answers that take long arrive after that. It skips a target
// whose last round is not over yet, so that a slow replica delays no other target. It forgets replicas that no target names.
//
// Call it once a second from one goroutine. When ctx ends, targets without an answer are reported as failed.
func (s *Scraper) Scrape(ctx context.Context, targets []Target, each func(Result)) {
	for _, r := range s.begin(targets, each) {
		for range r.size {
			select {
			case <-ctx.Done():
				r.done(load{}, context.Cause(ctx))
				continue
			case s.open <- struct{}{}:
			}
			select {
			case <-ctx.Done():
				<-s.open
				r.done(load{}, context.Cause(ctx))
				continue
			case s.places <- struct{}{}:
			}
			r.start.Do(func() { r.deadline = time.Now().Add(2 * s.opts.Timeout) })
			go r.sample(ctx)
		}
	}
}

// Wait returns when every request has been answered or has failed.
func (s *Scraper) Wait() { s.runs.Wait() }

// Close closes idle connections.
func (s *Scraper) Close() { s.client.CloseIdleConnections() }

// begin makes the runs of a round, one for each target that has replicas and is not still running.
func (s *Scraper) begin(targets []Target, each func(Result)) []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	now := time.Now()
	runs := make([]*run, 0, len(targets))
	for _, t := range targets {
		known := make([]*replica, len(t.Replicas))
		for i, where := range t.Replicas {
			known[i] = s.replica(where.URL)
		}
		if _, busy := s.busy[t.Revision]; busy || len(known) == 0 {
			continue
		}
		s.busy[t.Revision] = struct{}{}
		s.runs.Add(1)
		r := &run{scraper: s, target: t, each: each, size: sampleSize(len(known)), order: known}
		if r.left = r.size; r.size < len(known) {
			r.order = make([]*replica, 0, len(known))
			for _, i := range order(t, now, func(i int) bool { return known[i].fresh(now) }) {
				r.order = append(r.order, known[i])
			}
		}
		runs = append(runs, r)
	}
	for url, r := range s.replicas {
		if r.round != s.round {
			delete(s.replicas, url)
		}
	}
	return runs
}

// replica returns what is known of a URL and notes that it was named. The caller holds the mutex.
func (s *Scraper) replica(url string) *replica {
	r := s.replicas[url]
	if r == nil {
		r = &replica{}
		r.request, r.bad = http.NewRequest(http.MethodGet, url, nil) //nolint:noctx // ask gives it one
		s.replicas[url] = r
	}
	r.round = s.round
	return r
}

// ask reads the page of one replica.
func (s *Scraper) ask(ctx context.Context, r *replica) (load, error) {
	if r.bad != nil {
		return load{}, r.bad
	}
	response, err := s.client.Do(r.request.WithContext(ctx))
	if err != nil {
		return load{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return load{}, fmt.Errorf("asking %s: got status %d, want 200", r.request.URL, response.StatusCode)
	}
	if kind := response.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain") {
		return load{}, fmt.Errorf("asking %s: got %.60q, want Prometheus text (text/plain)", r.request.URL, kind)
	}
	page := s.pages.Get().(*bytes.Buffer)
	defer s.pages.Put(page)
	page.Reset()
	if _, err := page.ReadFrom(io.LimitReader(response.Body, maxPage+1)); err != nil {
		return load{}, fmt.Errorf("reading the page of %s: %w", r.request.URL, err)
	}
	if page.Len() > maxPage {
		return load{}, fmt.Errorf("reading the page of %s: got more than %d bytes", r.request.URL, maxPage)
	}
	said, err := parse(page.Bytes())
	if err != nil {
		return load{}, fmt.Errorf("reading the page of %s: %w", r.request.URL, err)
	}
	l, err := r.take(said, time.Now())
	if err != nil {
		return load{}, fmt.Errorf("reading the page of %s: %w", r.request.URL, err)
	}
	return l, nil
}
