package autoscaler

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// golden is one trace and what Knative decided, as test/oracle wrote it.
type golden struct {
	config, annotations map[string]string
	numbers             map[string]int
	lines               [][]string
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	header, body, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		t.Fatalf("%s has no empty line between header and body", path)
	}
	g := golden{map[string]string{}, map[string]string{}, map[string]int{}, nil}
	for line := range strings.Lines(header) {
		switch f := strings.Fields(line); f[0] {
		case "config":
			g.config[f[1]] = f[2]
		case "annotation":
			g.annotations[f[1]] = f[2]
		default:
			g.numbers[f[0]] = number[int](t, f[1])
		}
	}
	for line := range strings.Lines(body) {
		g.lines = append(g.lines, strings.Fields(line))
	}
	return g
}

func number[T any](t *testing.T, s string) (v T) {
	t.Helper()
	if _, err := fmt.Sscan(s, &v); err != nil {
		t.Fatalf("reading number %q: %v", s, err)
	}
	return v
}

func TestDecideAgreesWithKnativeAtEveryTick(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(paths) < 40 {
		t.Fatalf("found %d traces (%v), want 40 or more", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".trace"), func(t *testing.T) {
			if ticks, fresh := replay(t, readGolden(t, path)); ticks < 100 || fresh == 0 {
				t.Errorf("compared %d ticks, %d with data: too few", ticks, fresh)
			}
		})
	}
}

func replay(t *testing.T, g golden) (ticks, fresh int) {
	config, err := ParseConfig(g.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := Validate(&config, g.annotations); err != nil {
		t.Fatal(err)
	}
	p := Policy(&config, Template{Annotations: g.annotations, Concurrency: g.numbers["concurrency"]})
	state := State{}
	if ready := g.numbers["ready"]; ready > 0 {
		state = Resume(Restart{Ready: ready, Active: model.True, Initialized: true}, epoch)
	}
	var samples []model.Sample
	for _, line := range g.lines {
		sec := number[int](t, line[0])
		now := epoch.Add(time.Duration(sec) * time.Second)
		if line[1] != "-" {
			v := number[float64](t, line[1])
			samples = append(samples, model.Sample{Time: now, Concurrency: v, Requests: v})
		}
		if len(line) == 2 {
			continue
		}
		o := Observation{Samples: samples, Quiet: p.TargetBurstCapacity == -1, Ready: number[int](t, line[2])}
		o.Replicas = o.Ready
		o.Unreachable = g.numbers["unreachable"] >= 0 && sec >= g.numbers["unreachable"]
		var d model.Decision
		d, state = Decide(&p, state, &o, now)
		samples = samples[:0]
		ticks++
		if d.Fresh {
			fresh++
		}
		if got := figures(d); !same(t, got, line[3:]) {
			t.Errorf("second %d: decided %v, Knative %v", sec, got, line[3:])
		}
	}
	return ticks, fresh
}

func figures(d model.Decision) []string {
	if !d.Fresh {
		return []string{"-"}
	}
	return []string{
		strconv.Itoa(d.Desired), strconv.Itoa(d.ExcessBurstCapacity),
		strconv.FormatFloat(d.Stable, 'g', -1, 64), strconv.FormatFloat(d.Panic, 'g', -1, 64),
	}
}

func same(t *testing.T, got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if i < 2 && got[i] != want[i] {
			return false
		}
		if i >= 2 && math.Abs(number[float64](t, got[i])-number[float64](t, want[i])) > 1e-6 {
			return false
		}
	}
	return true
}

// epoch is when the tests begin: an even second, as the traces of Knative do.
var epoch = time.Unix(1_700_000_000, 0)
