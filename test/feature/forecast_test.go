package feature

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// remembers has the data directory hold the history of a Service that had a concurrency of 20 at every moment of the last three days.
func (s *instance) remembers(service string) string {
	s.t.Helper()
	var h forecast.History
	for now, at := time.Now(), time.Now().AddDate(0, 0, -3); at.Before(now); at = at.Add(forecast.Bucket) {
		h.Record(at, 20)
	}
	history, err := h.MarshalBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"metric": "concurrency", "history": history})
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.dir, ".sluice", "history", "default_"+service+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// A target of ten is one of seven for each replica, so that the history asks for three.
func TestForecastRaisesOrOnlyShows(t *testing.T) {
	s := up(t, "--config", configFile(t, quickToZero))
	files := map[string]string{"raised": s.remembers("raised"), "shown": s.remembers("shown")}
	for name, mode := range map[string]string{"raised": "auto", "shown": "observe"} {
		s.create(newApp(t, name, asleep(autoscaling+"target", "10", "sluice.dev/predictive", mode)))
	}
	s.scaledTo("raised-00001", 3)
	if why := s.revision("raised-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]; !strings.Contains(why,
		"the forecast asks for 3: concurrency 20 is expected at ") {
		t.Errorf("its why is %q", why)
	}
	eventually(t, "the forecast is shown", func() error {
		signals := s.revision("shown-00001").Status.Annotations[servingv1.ScaleSignalsAnnotation]
		if !strings.Contains(signals, "the forecast (only observed)") || !strings.Contains(signals, "3") {
			return fmt.Errorf("the signals are %q", signals)
		}
		return nil
	})
	if steps := s.steps("shown-00001"); len(steps) > 0 {
		t.Errorf("what is only observed scaled: %+v", steps)
	}
	for name, file := range files { // what is written at the end has more than what was read
		before, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = before.ModTime().String()
	}
	if code := s.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for name, before := range files {
		after, err := os.Stat(filepath.Join(s.dir, ".sluice", "history", "default_"+name+".json"))
		if err != nil || after.ModTime().String() == before {
			t.Errorf("the history of %s was not kept at the end: %v", name, err)
		}
	}
	s.start()
	s.scaledTo("raised-00001", 3)
	if n := s.revision("shown-00001").Status.DesiredReplicas; n == nil || *n != 0 {
		t.Errorf("what is only observed has %s replicas after a restart", number(n))
	}
}

// wanted is the count in the why of a revision that is only observed; 0 if it has none.
func wanted(why string) int {
	var n int
	_, _ = fmt.Sscanf(why, "1 replica, unchanged while sluice.dev/scaling is observe; else %d:", &n)
	return n
}

func TestObservingChangesNothingUnderLoad(t *testing.T) {
	onEachGateway(t, observingChangesNothing)
}

func observingChangesNothing(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	s.create(newApp(t, "watched", map[string]string{
		autoscaling + "target": "10", autoscaling + "window": "6s", "sluice.dev/scaling": "observe",
	}, "MS", "50"))
	s.scaledTo("watched-00001", 1)
	c := s.newCrowd("watched.default.localhost")
	c.size(30) // of seven that a replica should have
	eventually(t, "it says what it would do", func() error {
		why := s.revision("watched-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]
		// How many depends on how many requests the machine has in flight at once.
		if n := wanted(why); n < 2 || n > 5 {
			return fmt.Errorf("its why is %q", why)
		}
		return nil
	})
	if _, failed := c.end(); len(failed) > 0 {
		t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
	}
	eventually(t, "it would go to zero", func() error {
		why := s.revision("watched-00001").Status.Annotations[servingv1.ScaleWhyAnnotation]
		if !strings.HasPrefix(why, "1 replica, unchanged while sluice.dev/scaling is observe; else 0") {
			return fmt.Errorf("its why is %q", why)
		}
		return nil
	})
	for _, step := range s.steps("watched-00001") {
		if step.to != 1 {
			t.Errorf("it scaled: %+v", step)
		}
	}
}
