package feature

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// parts are the parts of a cold start in Server-Timing.
var parts = []string{"decide", "start", "ready", "endpoints", "dispatch"}

// wake is one cold start as the client measures it.
type wake struct {
	total time.Duration // from the request to the end of the response
	added time.Duration // total without the time from the start of the process until it listens
	part  map[string]time.Duration
}

// BenchmarkColdStart measures the first request of 200 services at zero, so many in parallel: the time that Sluice adds to the time
// that the process takes to listen, and the parts of that time.
func BenchmarkColdStart(b *testing.B) {
	const services = 200
	for _, c := range []struct {
		atATime int
		gateway
	}{{1, builtin}, {1, realEnvoy}, {50, builtin}, {50, realEnvoy}} {
		atATime := c.atATime
		b.Run(fmt.Sprintf("at-a-time=%d/%s", atATime, c.name), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := c.up(b, "--log-level", "warn", "--config", zeroInitialScale(b))
				s.sleepers(b, services)
				b.StartTimer()
				began := time.Now()
				wakes := s.wakeAll(b, services, atATime)
				took := time.Since(began)
				b.StopTimer()
				s.stop()
				reportWakes(b, wakes)
				b.ReportMetric(services/took.Seconds(), "cold-starts/s")
				b.StartTimer()
			}
		})
	}
}

// zeroInitialScale is a configuration with which a revision becomes ready without a replica.
func zeroInitialScale(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("allow-zero-initial-scale: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sleepers makes services z0, z1, … that are ready without a replica.
func (s *instance) sleepers(b *testing.B, n int) {
	b.Helper()
	command := tiny(b)
	parallel(n, func(i int) {
		service := newService(fmt.Sprintf("z%d", i), command)
		service.Spec.Template.Metadata.Annotations = map[string]string{"autoscaling.knative.dev/initial-scale": "0"}
		if err := s.Create(b.Context(), service); err != nil {
			b.Error(err)
		}
	})
	for i := range n {
		s.ready(fmt.Sprintf("z%d", i))
	}
}

func (s *instance) wakeAll(b *testing.B, services, atATime int) []wake {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atATime}, Timeout: patience}
	wakes := make([]wake, services)
	next := make(chan int)
	var group sync.WaitGroup
	for range atATime {
		group.Go(func() {
			for i := range next {
				wakes[i] = s.wake(b, client, fmt.Sprintf("z%d.default.localhost", i))
			}
		})
	}
	for i := range services {
		next <- i
	}
	close(next)
	group.Wait()
	return wakes
}

func (s *instance) wake(b *testing.B, client *http.Client, host string) wake {
	request, err := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Sluice-Timing", "1")
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		b.Errorf("%s: %v", host, err)
		return wake{}
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	w := wake{total: time.Since(began), part: map[string]time.Duration{}}
	if err != nil || response.StatusCode != http.StatusOK {
		b.Errorf("%s: status %d, %v: %s", host, response.StatusCode, err, body)
		return w
	}
	for entry := range strings.SplitSeq(response.Header.Get("Server-Timing"), ", ") {
		name, ms, _ := strings.Cut(entry, ";dur=")
		value, err := strconv.ParseFloat(ms, 64)
		if err != nil {
			b.Errorf("%s: Server-Timing %q", host, response.Header.Get("Server-Timing"))
		}
		w.part[name] = time.Duration(value * float64(time.Millisecond))
	}
	if len(w.part) != len(parts)+1 {
		b.Errorf("%s: Server-Timing %q is not that of a cold start", host, response.Header.Get("Server-Timing"))
	}
	listening, err := strconv.ParseInt(string(body), 10, 64)
	if err != nil {
		b.Errorf("%s answered %q", host, body)
	}
	existed := began.Add(w.part["decide"] + w.part["start"])
	w.added = w.total - time.Unix(0, listening).Sub(existed)
	return w
}

func reportWakes(b *testing.B, wakes []wake) {
	collect := func(of func(wake) time.Duration) []time.Duration {
		all := make([]time.Duration, len(wakes))
		for i, w := range wakes {
			all[i] = of(w)
		}
		return all
	}
	percentiles(b, "total", collect(func(w wake) time.Duration { return w.total }))
	percentiles(b, "added", collect(func(w wake) time.Duration { return w.added }))
	for _, p := range parts {
		percentiles(b, p, collect(func(w wake) time.Duration { return w.part[p] }))
	}
	for i, w := range wakes {
		sum := time.Duration(0)
		for _, p := range parts {
			sum += w.part[p]
		}
		if gap := sum - w.part["activate"]; gap.Abs() > 5*time.Microsecond { // the parts are rounded
			b.Errorf("cold start %d: the parts sum to %v, the whole is %v", i, sum, w.part["activate"])
		}
	}
}
