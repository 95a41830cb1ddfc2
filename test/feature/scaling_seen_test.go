package feature

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// timed sends a request that asks for its timing and returns the parts of the response's Server-Timing, in milliseconds.
func (s *instance) timed(host string) map[string]float64 {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+s.gateway+"/", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Host = host
	request.Header.Set("Sluice-Timing", "1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("status %d, %v: %s", response.StatusCode, err, body)
	}
	all := map[string]float64{}
	for _, header := range response.Header.Values("Server-Timing") {
		for entry := range strings.SplitSeq(header, ",") {
			name, ms, _ := strings.Cut(strings.TrimSpace(entry), ";dur=")
			if all[name], err = strconv.ParseFloat(ms, 64); err != nil {
				s.t.Errorf("Server-Timing %q: %v", header, err)
			}
		}
	}
	return all
}

func TestServerTimingHasThePartsOfAColdStart(t *testing.T) {
	onEachGateway(t, serverTimingHasThePartsOfAColdStart)
}

func serverTimingHasThePartsOfAColdStart(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	s.create(newApp(t, "cold", asleep(autoscaling+"window", "60s"), "LISTEN_AFTER", "100"))
	got := s.timed("cold.default.localhost")
	sum := 0.0
	for _, part := range parts {
		ms, ok := got[part]
		if !ok || ms < 0 {
			t.Errorf("the part %s of a cold start is missing in %v", part, got)
		}
		sum += ms
	}
	if diff := sum - got["activate"]; diff > 0.01 || diff < -0.01 {
		t.Errorf("the parts of %v sum to %.3f", got, sum)
	}
	if got["start"]+got["ready"] < 100 { // the start of the process is recorded a moment late
		t.Errorf("the process took 100 ms to listen, but start and ready took less, of %v", got)
	}
	if warm := s.timed("cold.default.localhost"); len(warm) > 1 {
		t.Errorf("a request that started nothing got the timing of a cold start: %v", warm)
	}
	response, err := via(s.gateway, nil).Get("http://cold.default.localhost/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if timing := response.Header.Values("Server-Timing"); len(timing) > 0 {
		t.Errorf("a request that did not ask for it got %q", timing)
	}
	all := s.figures("sluice_activator_")
	if all["sluice_activator_cold_starts_total"] != 1 || all["sluice_activator_cold_start_seconds_count"] != 1 {
		t.Errorf("there was one cold start, the metrics have %v and %v",
			all["sluice_activator_cold_starts_total"], all["sluice_activator_cold_start_seconds_count"])
	}
	sum = 0
	for _, part := range parts {
		sum += all[fmt.Sprintf("sluice_activator_cold_start_part_seconds_sum{part=%q}", part)]
	}
	if whole := all["sluice_activator_cold_start_seconds_sum"]; sum < 0.1 || math.Abs(sum-whole) > 0.001*whole {
		t.Errorf("the parts have %v of %v seconds", sum, whole)
	}
}

// active returns the status and reason of a Revision's condition Active.
func (s *instance) active(revision string) string {
	s.t.Helper()
	c := s.revision(revision).Status.Condition("Active")
	if c == nil {
		return ""
	}
	return strings.TrimSpace(string(c.Status) + " " + c.Reason)
}

func TestWhatScalesCanBeSeen(t *testing.T) { onEachGateway(t, whatScalesCanBeSeen) }

func whatScalesCanBeSeen(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero), "--request-log")
	held, working := filepath.Join(t.TempDir(), "held"), filepath.Join(t.TempDir(), "working")
	o := newApp(t, "seen", asleep("autoscaling.knative.dev/target", "10"), "MS", "200", "LISTEN_WHEN", held, "UNTIL", working,
		"LIMIT", "10")
	o.Spec.Template.Spec.ContainerConcurrency = new(int64(10))
	s.create(o)
	const revision = "seen-00001"
	if got := s.active(revision); got != "False NoTraffic" {
		t.Errorf("at zero, Active is %q", got)
	}
	c := s.newCrowd("seen.default.localhost")
	c.size(1)
	eventually(t, "requests are held", func() error {
		all := s.figures("sluice_activator_")
		if n, ok := ofRevision(all, "sluice_activator_queue_depth", revision); !ok || n != 1 {
			return fmt.Errorf("queue depth %v, %v", n, ok)
		}
		if got := s.active(revision); got != "Unknown Queued" {
			return fmt.Errorf("active is %q", got)
		}
		return nil
	})
	touch(t, held) // so that the processes listen
	c.size(35)     // seven for each replica; none is answered before awaitMetrics has returned
	s.awaitMetrics(revision, 5)
	if got := s.active(revision); got != "True" {
		t.Errorf("under load, Active is %q", got)
	}
	touch(t, working)
	if _, failed := c.end(); len(failed) > 0 {
		t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
	}
	if all := s.figures("sluice_activator_"); all["sluice_activator_dispatched_total"] < 35 {
		t.Errorf("35 requests at least went through the activator, its metrics have %v", all["sluice_activator_dispatched_total"])
	}
	s.scaledTo(revision, 0)
	if got := s.active(revision); got != "False NoTraffic" {
		t.Errorf("after the load, Active is %q", got)
	}
	s.checkReasons(revision)
	s.logged("seen.default.localhost", revision)
	eventually(t, "the metrics leave out a revision at zero", func() error {
		if _, ok := ofRevision(s.figures("sluice_autoscaler_"), "sluice_autoscaler_desired_replicas", revision); ok {
			return fmt.Errorf("they have it")
		}
		return nil
	})
}

// awaitMetrics waits until metrics and status agree on a load of seven requests for each of so many replicas.
func (s *instance) awaitMetrics(revision string, replicas float64) {
	s.t.Helper()
	load, target := 7*replicas, 7.0
	eventually(s.t, "the metrics show the load", func() error {
		all := s.figures("sluice_")
		wrong := ""
		for name, holds := range map[string]func(float64) bool{
			"sluice_autoscaler_desired_replicas":      func(v float64) bool { return v == replicas },
			"sluice_autoscaler_ready_replicas":        func(v float64) bool { return v == replicas },
			"sluice_autoscaler_stable_value":          func(v float64) bool { return v > load-target && v <= load+1 },
			"sluice_autoscaler_panic_value":           func(v float64) bool { return v > load-target && v <= load+1 },
			"sluice_autoscaler_target_value":          func(v float64) bool { return v == target },
			"sluice_autoscaler_panic_mode":            func(v float64) bool { return v == 0 || v == 1 },
			"sluice_autoscaler_excess_burst_capacity": func(v float64) bool { return v < 0 }, // 50 of 211 wanted
			"sluice_autoscaler_by_activator":          func(v float64) bool { return v == 1 },
			"sluice_activator_requests_in_flight":     func(v float64) bool { return v <= load },
		} {
			if v, ok := ofRevision(all, name, revision); !ok || !holds(v) {
				wrong += fmt.Sprintf(" %s is %v (there: %t)", name, v, ok)
			}
		}
		if status := s.revision(revision).Status; number(status.DesiredReplicas) != fmt.Sprint(replicas) ||
			number(status.ActualReplicas) != fmt.Sprint(replicas) {
			wrong += fmt.Sprintf(" the status has %s desired and %s actual replicas",
				number(status.DesiredReplicas), number(status.ActualReplicas))
		}
		if wrong != "" {
			return fmt.Errorf("wrong:%s", wrong)
		}
		return nil
	})
}

var whyZero = regexp.MustCompile(`^0 replicas: there is no load, and the activator backs the revision`)

// checkReasons checks that log and status say why each step was made.
func (s *instance) checkReasons(revision string) {
	s.t.Helper()
	steps := s.steps(revision)
	if len(steps) < 3 {
		s.t.Fatalf("the log has %d steps from zero to many and back: %+v", len(steps), steps)
	}
	for i, step := range steps {
		if i > 0 && step.from != steps[i-1].to || step.from == step.to {
			s.t.Errorf("step %d goes from %d to %d, the one before to %d", i, step.from, step.to, steps[max(0, i-1)].to)
		}
		if !regexp.MustCompile(fmt.Sprintf(`^%d replicas?: \S+`, step.to)).MatchString(step.why) {
			s.t.Errorf("step %d to %d says %q", i, step.to, step.why)
		}
	}
	last := steps[len(steps)-1].why
	if got := s.revision(revision).Status.Annotations[servingv1.ScaleWhyAnnotation]; got != last || !whyZero.MatchString(got) {
		s.t.Errorf("the status says %q, the log %q", got, last)
	}
}

// logged checks that the request log has lines of a host.
func (s *instance) logged(host, revision string) {
	s.t.Helper()
	lines := 0
	for text := range strings.Lines(s.printed()) {
		var line struct {
			Time    time.Time
			Host    string
			Method  string
			Path    string
			Status  int
			Seconds float64
			Proxied bool
			Labels  map[string]string
		}
		if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &line) != nil || line.Host != host {
			continue
		}
		lines++
		labels := maps.Clone(line.Labels)
		delete(labels, "replica")
		if line.Method != "GET" || line.Path != "/" || line.Status != 200 || line.Seconds < 0.2 || !line.Proxied || line.Time.IsZero() ||
			!maps.Equal(labels, map[string]string{"namespace": "default", "revision": revision}) || line.Labels["replica"] == "" {
			s.t.Fatalf("the request log has %s", text)
		}
	}
	if lines == 0 {
		s.t.Error("the request log has no request")
	}
}
