package feature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// load sends requests over many connections until it is stopped, and counts the responses.
type load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int // by body
	failed []string
}

// pace is the pause of a load's client between two requests: a load that takes the whole machine would show nothing more.
const pace = 20 * time.Millisecond

// startLoad begins steady load on one host over so many connections.
func (s *instance) startLoad(host string, connections int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, counts: map[string]int{}}
	for range connections {
		transport := &http.Transport{MaxIdleConnsPerHost: 1}
		l.done.Go(func() {
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				l.one(ctx, &http.Client{Transport: transport, Timeout: patience}, s.gateway, host)
				time.Sleep(pace)
			}
		})
	}
	return l
}

func (l *load) one(ctx context.Context, c *http.Client, address, host string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		panic(err)
	}
	request.Host = host
	response, err := c.Do(request)
	failure, body := "", ""
	switch {
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		failure = err.Error()
	default:
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		body = strings.TrimSpace(string(text))
		switch {
		case errors.Is(err, context.Canceled):
			return
		case err != nil:
			failure = err.Error()
		case response.StatusCode != http.StatusOK:
			failure = response.Status + ": " + body
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if failure != "" {
		l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+failure)
		return
	}
	l.counts[body]++
}

// reaches waits until so many requests have succeeded, or one has failed.
func (l *load) reaches(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d requests are answered", n), func() error {
		answered := l.soFar()
		l.mu.Lock()
		defer l.mu.Unlock()
		if answered < n && len(l.failed) == 0 {
			return fmt.Errorf("%d are", answered)
		}
		return nil
	})
}

// soFar returns how many requests have succeeded.
func (l *load) soFar() (answered int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.counts {
		answered += n
	}
	return answered
}

// stop ends the load and returns how many requests succeeded, and every failure.
func (l *load) stop() (answered int, failed []string) {
	l.cancel()
	l.done.Wait()
	for _, n := range l.counts {
		answered += n
	}
	return answered, l.failed
}

// durations collects durations, from any goroutine.
type durations struct {
	mu    sync.Mutex
	taken []time.Duration
}

func (d *durations) add(took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken = append(d.taken, took)
}

// all returns the durations. After that none may be added.
func (d *durations) all() []time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken
}
