package simulate

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTraces(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name, text string
		want       Load
	}{
		{"rate", "seconds,rps\n0,5\n10,20\n",
			Load{Length: 20 * time.Second, Steps: []Step{{0, 5, 100 * ms}, {10 * time.Second, 20, 100 * ms}}}},
		{"rate and latency", "# a comment\nSeconds, RPS, latency_ms\n1.5, 5, 20\n",
			Load{Length: 61500 * ms, Steps: []Step{{1500 * ms, 5, 20 * ms}}}},
		{"concurrency", "seconds,concurrency\n0,5\n", Load{Length: time.Minute, Steps: []Step{{0, 50, 100 * ms}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadTrace(strings.NewReader(c.text), 100*ms)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestWrongTracesAreRefusedByLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "the trace is empty",
		"seconds,rps\n":                     "no row",
		"time,rps\n0,1\n":                   `line 1: the header is "time,rps"`,
		"seconds,rps\n0,1\nx,2\n":           `line 3: seconds is "x"`,
		"seconds,rps\n0,-1\n":               `line 2: rps is "-1", want a number from 0 to 1000000`,
		"seconds,rps\n0,NaN\n":              `line 2: rps is "NaN"`,
		"seconds,rps\n5,1\n5,2\n":           "line 3: seconds is 5, want more than the 5",
		"seconds,rps\n0,1\n1\n":             "line 3: wrong number of fields",
		"seconds,rps\n0,\"1\n":              "line 2",
		"seconds,rps\n999999,1\n":           "line 2: seconds is",
		"seconds,rps\n0,1e300\n":            "line 2: rps is",
		"seconds,rps\n\n# c\n0,\n":          `line 4: rps is ""`,
		"seconds,rps,latency_ms\n0,1,1e9\n": "line 2: latency_ms is",
		"seconds,concurrency\n0,1000000\n":  "line 2: a concurrency of 1000000",
		"seconds,rps\n" + strings.Repeat("#"+comment+"\n", 4096): "over 32 MiB",
	} {
		_, err := ReadTrace(strings.NewReader(text), 100*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %v, want %q in it", text, err, want)
		}
	}
}

var comment = strings.Repeat("x", 10_000)

func TestShapes(t *testing.T) {
	for _, name := range ShapeNames() {
		l, err := Shape{Name: name, Base: 10, Peak: 50, Length: 10 * time.Minute, Latency: time.Second, Seed: 3}.Load()
		if err != nil {
			t.Fatal(err)
		}
		low, high := l.Steps[0].RPS, 0.
		for _, s := range l.Steps {
			low, high = min(low, s.RPS), max(high, s.RPS)
		}
		if len(l.Steps) != 600 || low < 10 || low > 13 || high > 50 || high < 45 {
			t.Errorf("%s has %d steps from %v to %v, want 600 from 10 to 50", name, len(l.Steps), low, high)
		}
	}
	for want, s := range map[string]Shape{
		`"cube" is none of step, spike`: {Name: "cube", Length: time.Minute},
		"length 0s":                     {Name: "step"},
		"period 1ms":                    {Name: "step", Length: time.Minute, Period: time.Millisecond},
		"peak -1":                       {Name: "step", Length: time.Minute, Peak: -1},
	} {
		if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
