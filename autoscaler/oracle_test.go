package autoscaler

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

// golden is one trace and what Knative decided, as test/oracle wrote it; the legend of each file explains it.
type golden struct {
	config, annotations map[string]string
	settings            map[string]int
	rows                []map[string]string // by the names of the columns; a column that a row does not have is missing
}

func readGolden(t *testing.T, path string) golden {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(text), "\n\n", 3)
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "#") {
		t.Fatalf("%s is not a legend, settings and rows with empty lines between them", path)
	}
	g := golden{config: map[string]string{}, annotations: map[string]string{}, settings: map[string]int{}}
	for line := range strings.Lines(parts[1]) {
		switch f := strings.Fields(line); f[0] {
		case "config":
			g.config[f[1]] = f[2]
		case "annotation":
			g.annotations[f[1]] = f[2]
		default:
			g.settings[f[0]] = number[int](t, f[1])
		}
	}
	names, rows, _ := strings.Cut(parts[2], "\n")
	columns := strings.Fields(names)
	for line := range strings.Lines(rows) {
		row := map[string]string{}
		for i, value := range strings.Fields(line) {
			row[columns[i]] = value
		}
		g.rows = append(g.rows, row)
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
	p := Policy(&config, Template{Annotations: g.annotations, Concurrency: g.settings["container-concurrency"]})
	state := State{}
	if ready := g.settings["ready-at-start"]; ready > 0 {
		state = Resume(Restart{Ready: ready, Active: model.True, Initialized: true}, epoch)
	}
	var samples []model.Sample
	for _, row := range g.rows {
		sec := number[int](t, row["second"])
		now := epoch.Add(time.Duration(sec) * time.Second)
		if load := row["load"]; load != "-" {
			v := number[float64](t, load)
			samples = append(samples, model.Sample{Time: now, Concurrency: v, Requests: v})
		}
		if row["desired"] == "" {
			continue
		}
		o := Observation{Samples: samples, Quiet: p.TargetBurstCapacity == -1, Ready: number[int](t, row["ready"])}
		o.Replicas = o.Ready
		from := g.settings["unreachable-from"]
		o.Unreachable = from >= 0 && sec >= from
		var d model.Decision
		d, state = Decide(&p, state, &o, now)
		samples = samples[:0]
		ticks++
		if d.Fresh {
			fresh++
		}
		if !agrees(t, d, row) {
			t.Errorf("second %d: decided %d, excess %d, stable %v, panic %v; Knative: %v",
				sec, d.Desired, d.ExcessBurstCapacity, d.Stable, d.Panic, row)
		}
	}
	return ticks, fresh
}

// agrees says whether a decision has the figures of a row: the counts exactly, the averages within 1e-6.
func agrees(t *testing.T, d model.Decision, row map[string]string) bool {
	if !d.Fresh || row["desired"] == "-" {
		return !d.Fresh && row["desired"] == "-"
	}
	near := func(got float64, column string) bool { return math.Abs(got-number[float64](t, row[column])) <= 1e-6 }
	return d.Desired == number[int](t, row["desired"]) && d.ExcessBurstCapacity == number[int](t, row["excess"]) &&
		near(d.Stable, "stable") && near(d.Panic, "panic")
}

// epoch is when the tests begin: an even second, as in the traces.
var epoch = time.Unix(1_700_000_000, 0)
