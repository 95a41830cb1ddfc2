package feature

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

const host = "hello.default.localhost"

// canary runs examples/canary until the gateway serves both of its revisions.
func canary(t *testing.T, g gateway) *instance {
	t.Helper()
	s := g.up(t, "-f", absolute(t, "examples/canary"))
	s.waitFor("2-green.yaml")
	s.ready("hello")
	return s
}

// shares sends n requests, some in parallel, and returns the percentage of responses that contain each word.
func (s *instance) shares(n int, host string, words ...string) map[string]float64 {
	s.t.Helper()
	var mu sync.Mutex
	counts, failed := map[string]int{}, []string{}
	parallel(n, func(int) {
		status, body, err := s.get(host, "/")
		mu.Lock()
		defer mu.Unlock()
		if err != nil || status != 200 {
			failed = append(failed, fmt.Sprintf("status %d, %v: %s", status, err, body))
		}
		for _, w := range words {
			if strings.Contains(body, w) {
				counts[w]++
			}
		}
	})
	if len(failed) > 0 {
		s.t.Errorf("%d of %d requests to %s failed, the first: %s", len(failed), n, host, failed[0])
	}
	out := map[string]float64{}
	for w, c := range counts {
		out[w] = 100 * float64(c) / float64(n)
	}
	return out
}

func target(revision, tag string, percent int64) servingv1.TrafficTarget {
	return servingv1.TrafficTarget{RevisionName: revision, Tag: tag, Percent: &percent, LatestRevision: new(false)}
}

// split returns a patch of a Service's traffic between hello-blue and hello-green.
func split(blue int64) func(*servingv1.Service) {
	return func(s *servingv1.Service) {
		s.Spec.Traffic = servingv1.Traffic{target("hello-blue", "blue", blue), target("hello-green", "green", 100-blue)}
	}
}

func TestTrafficIsSplitByPercent(t *testing.T) { onEachGateway(t, trafficIsSplitByPercent) }

func trafficIsSplitByPercent(t *testing.T, g gateway) {
	s := canary(t, g)
	got := s.shares(3000, host, "blue", "green")
	if math.Abs(got["blue"]-70) > 4 || math.Abs(got["green"]-30) > 4 { // almost five standard deviations
		t.Errorf("3,000 requests were split %v, want 70 to 30 within 4 points", got)
	}
}

func TestTagHasItsOwnURL(t *testing.T) { onEachGateway(t, tagHasItsOwnURL) }

func tagHasItsOwnURL(t *testing.T, g gateway) {
	s := canary(t, g)
	o := s.ready("hello")
	for i, color := range []string{"blue", "green"} {
		want := "http://" + color + "-hello.default.localhost:" + strings.Split(s.gateway, ":")[1]
		if got := o.Status.Traffic[i].URL; got != want {
			t.Errorf("the URL of tag %s is %q, want %q", color, got, want)
		}
		if got := s.shares(200, color+"-"+host, "blue", "green"); got[color] != 100 {
			t.Errorf("requests to the tag %s were split %v", color, got)
		}
	}
}

func TestSplitIsShiftedByKubectlAndRolledBack(t *testing.T) {
	onEachGateway(t, splitIsShiftedByKubectlAndRolledBack)
}

func splitIsShiftedByKubectlAndRolledBack(t *testing.T, g gateway) {
	s := canary(t, g)
	for _, blue := range []int{50, 0, 100, 70} {
		patch := fmt.Sprintf(`{"spec":{"traffic":[{"revisionName":"hello-blue","tag":"blue","percent":%d},`+
			`{"revisionName":"hello-green","tag":"green","percent":%d}]}}`, blue, 100-blue)
		must(t)(s.kubectl("", "patch", "ksvc", "hello", "--type=merge", "-p", patch))
		s.ready("hello")
		got := s.shares(1000, host, "blue", "green")
		if math.Abs(got["blue"]-float64(blue)) > 6.5 || (blue == 0 || blue == 100) && got["blue"] != float64(blue) {
			t.Errorf("after the patch to %d/%d requests were split %v", blue, 100-blue, got)
		}
	}
}

func TestNoRequestFailsWhileTrafficChangesAndRevisionsCome(t *testing.T) {
	onEachGateway(t, noRequestFailsWhileTrafficChangesAndRevisionsCome)
}

func noRequestFailsWhileTrafficChangesAndRevisionsCome(t *testing.T, g gateway) {
	changes, revisions := 200, 50
	if testing.Short() {
		changes, revisions = 20, 5
	}
	s := canary(t, g)
	l := s.startLoad(host, 16)
	for i := range changes {
		if i%(changes/revisions) != 0 {
			s.change("hello", split(int64(i*37%101)))
			time.Sleep(10 * time.Millisecond) // between two changes, so that each reaches the gateway
			continue
		}
		// A new revision that gets a share, and loses it with the next change.
		name := fmt.Sprintf("hello-n%d", i)
		s.change("hello", func(o *servingv1.Service) {
			o.Spec.Template.Metadata.Name = name
			o.Spec.Template.Spec.Containers[0].Env[0].Value = name
			o.Spec.Traffic = servingv1.Traffic{target("hello-blue", "", 50), target(name, "", 50)}
		})
		s.ready("hello")
	}
	s.change("hello", split(70))
	s.ready("hello")
	l.reaches(t, 1000)
	answered, failed := l.stop()
	if len(failed) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(failed), answered, failed[0])
	}
	t.Logf("%d requests, %d failed, during %d traffic changes and %d new revisions", answered, len(failed), changes, revisions)
}
