package hpa

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// begin is when the traces begin.
var begin = time.Unix(1_700_000_000, 0)

func number[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if _, err := fmt.Sscan(s, &v); err != nil {
		t.Fatalf("reading number %q: %v", s, err)
	}
	return v
}

// second reads a second of a trace; "-" is none.
func second(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "-" {
		return time.Time{}
	}
	return begin.Add(time.Duration(number[int](t, s)) * time.Second)
}

// replica reads one replica of a row; the legend of a trace explains it.
func replica(t *testing.T, text string, metric model.Metric) model.ReplicaUsage {
	t.Helper()
	f := strings.Split(text, ":")
	r := model.ReplicaUsage{
		Pending: f[0] == "p", Ready: f[0] == "r", Ending: f[0] == "e", Started: second(t, f[1]), Turned: second(t, f[2]),
		Request: number[int64](t, f[3]), Window: Period,
	}
	if f[4] != "-" {
		r.Measured, r.At = true, second(t, f[5])
		if metric == model.Memory {
			r.Memory = number[int64](t, f[4])
		} else {
			r.CPU = number[int64](t, f[4])
		}
	}
	return r
}

func TestDecideAgreesWithKubernetesAtEveryStep(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(paths) < 30 {
		t.Fatalf("found %d traces (%v), want 30 or more", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".trace"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, string(text))
		})
	}
}

func replay(t *testing.T, text string) {
	t.Helper()
	parts := strings.SplitN(text, "\n\n", 3)
	head := map[string]string{}
	for line := range strings.Lines(parts[1]) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		head[key] = value
	}
	p := model.HPA{
		Metric: model.Metric(head["metric"]), Target: number[float64](t, head["target"]), Min: number[int](t, head["min"]),
		Max: number[int](t, head["max"]), Window: time.Duration(number[int](t, head["window"])) * time.Second,
	}
	var state State
	rows, changes := 0, 0
	for line := range strings.Lines(parts[2]) {
		f := strings.Fields(line)
		current, want := number[int](t, f[1]), number[int](t, f[2])
		var all []model.ReplicaUsage
		for _, r := range f[3:] {
			all = append(all, replica(t, r, p.Metric))
		}
		var got model.Proposal
		got, state = Decide(&p, state, current, all, second(t, f[0]))
		if got.Replicas == model.UnknownReplicas {
			got.Replicas = current
		}
		if got.Replicas != want {
			t.Errorf("second %s: %d replicas of %d, Kubernetes wants %d: %s", f[0], got.Replicas, current, want, got.Why)
		}
		rows++
		if want != current {
			changes++
		}
	}
	if rows < 30 {
		t.Errorf("there are %d rows: too few", rows)
	}
}
