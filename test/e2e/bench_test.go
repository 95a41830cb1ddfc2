package e2e

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// look is the time between two requests of a benchmark that waits for an answer.
const look = 5 * time.Millisecond

// until sends requests until one is answered with 200 and a text, and returns how long that took.
func (s *space) until(host, text string) time.Duration {
	s.Helper()
	began := time.Now()
	for time.Since(began) < patience {
		if a := s.ask(host, "/"); a.status == http.StatusOK && strings.Contains(a.body, text) {
			return time.Since(began)
		}
		time.Sleep(look)
	}
	s.Fatalf("no answer of %s with %q", host, text)
	return 0
}

// reportTimes reports the median, the 99th percentile and the maximum of some times.
func reportTimes(b *testing.B, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	at := func(share float64) float64 {
		i := int(math.Ceil(share*float64(len(times)))) - 1
		return float64(times[max(0, i)]) / float64(time.Millisecond)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

// BenchmarkCreate is the time from a new Service to its first answer.
func BenchmarkCreate(b *testing.B) {
	s := makeSpace(b)
	var times []time.Duration
	for b.Loop() {
		name := fmt.Sprint("new-", len(times))
		began := time.Now()
		s.deploy(service{name: name, annotations: window})
		s.until(s.host(name), "World")
		times = append(times, time.Since(began))
	}
	reportTimes(b, times)
}

// BenchmarkTrafficChange is the time from a change of a Service's traffic to the first answer of the other revision.
func BenchmarkTrafficChange(b *testing.B) {
	s := makeSpace(b)
	running := map[string]string{"autoscaling.knative.dev/min-scale": "1"}
	colors := []string{"blue", "green"}
	for _, color := range colors {
		o := service{name: "hello", target: color, annotations: running}.object(s.name)
		o.Spec.Template.Metadata.Name = "hello-" + color
		s.put(o)
		s.awaitReady("hello")
		s.awaitAnswer(s.host("hello"), color)
	}
	var times []time.Duration
	for b.Loop() {
		color := colors[len(times)%2]
		o := service{name: "hello", target: "green", annotations: running}.object(s.name)
		o.Spec.Template.Metadata.Name = "hello-green"
		all := int64(100)
		o.Spec.Traffic = []servingv1.TrafficTarget{{RevisionName: "hello-" + color, Percent: &all}}
		began := time.Now()
		s.put(o)
		s.until(s.host("hello"), color)
		times = append(times, time.Since(began))
	}
	reportTimes(b, times)
}

// BenchmarkColdStart is the time of the first request to a revision without replicas.
func BenchmarkColdStart(b *testing.B) {
	s := makeSpace(b)
	s.deploy(service{name: "sleeper", annotations: window})
	s.awaitReady("sleeper")
	var times []time.Duration
	for b.Loop() {
		s.await("no replica", func() (any, bool) { n := s.replicas("sleeper"); return n, n == 0 })
		times = append(times, s.until(s.host("sleeper"), "World"))
	}
	reportTimes(b, times)
}
