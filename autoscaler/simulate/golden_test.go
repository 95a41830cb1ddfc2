package simulate

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/model"
)

var update = flag.Bool("update", false, "rewrite the expected tables of the cases in testdata")

// TestGolden holds every case in testdata: what is asked for above, the table below.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no cases in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			got := table(t, readCase(t, parts))
			if *update {
				if _, ok := parts["table"]; !ok {
					archive.Files = append(archive.Files, txtar.File{Name: "table"})
				}
				archive.Files[len(archive.Files)-1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(parts["table"], got); diff != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, diff)
			}
		})
	}
}

func table(t *testing.T, o Options) string {
	t.Helper()
	result, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	report := Report{Load: o.Load, Runs: []Named{{Policy: Describe(&o.Policy, o.Concurrency), Scaling: o.Policy, Result: result}}}
	if err := report.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// readCase reads the flags of a case, one "name value" a line, named as those of the command.
func readCase(t *testing.T, parts map[string]string) Options {
	t.Helper()
	o := options(t, nil)
	s := Shape{Name: "step", Peak: 100, Length: 10 * time.Minute, Latency: 100 * time.Millisecond, Seed: 1}
	annotations := map[string]string{}
	set := map[string]func(string) error{
		"shape":                 func(v string) error { s.Name = v; return nil },
		"annotation":            func(v string) error { k, x, _ := strings.Cut(v, "="); annotations[group+k] = x; return nil },
		"peak":                  parsed(&s.Peak, func(v string) (float64, error) { return strconv.ParseFloat(v, 64) }),
		"base":                  parsed(&s.Base, func(v string) (float64, error) { return strconv.ParseFloat(v, 64) }),
		"period":                parsed(&s.Period, time.ParseDuration),
		"length":                parsed(&s.Length, time.ParseDuration),
		"latency":               parsed(&s.Latency, time.ParseDuration),
		"startup":               parsed(&o.Startup, time.ParseDuration),
		"startup-jitter":        parsed(&o.Jitter, time.ParseDuration),
		"timeout":               parsed(&o.Timeout, time.ParseDuration),
		"start":                 parsed(&o.Start, strconv.Atoi),
		"container-concurrency": parsed(&o.Concurrency, strconv.Atoi),
	}
	for line := range strings.Lines(parts["input"]) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if set[name] == nil {
			t.Fatalf("a case cannot say %q", line)
		}
		if err := set[name](value); err != nil {
			t.Fatal(err)
		}
	}
	o.Policy = policy(t, annotations, o.Concurrency)
	var err error
	if csv, ok := parts["trace.csv"]; ok {
		o.Load, err = ReadTrace(strings.NewReader(csv), s.Latency)
		o.Load.Name = "trace.csv"
	} else {
		o.Load, err = s.Load()
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func parsed[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(text string) (err error) {
		*to, err = parse(text)
		return err
	}
}

const group = "autoscaling.knative.dev/"

func policy(t testing.TB, annotations map[string]string, concurrency int) model.Scaling {
	t.Helper()
	c := autoscaler.DefaultConfig()
	if err := autoscaler.Validate(&c, annotations); err != nil {
		t.Fatal(err)
	}
	return autoscaler.Policy(&c, autoscaler.Template{Annotations: annotations, Concurrency: concurrency})
}

// options are those of a step with the defaults of the command; change may be nil.
func options(t testing.TB, change func(*Shape, map[string]string)) Options {
	t.Helper()
	s := Shape{Name: "step", Peak: 100, Length: 10 * time.Minute, Latency: 100 * time.Millisecond, Seed: 1}
	short := map[string]string{}
	if change != nil {
		change(&s, short)
	}
	load, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	annotations := map[string]string{}
	for k := range maps.Keys(short) {
		annotations[group+k] = short[k]
	}
	return Options{
		Policy: policy(t, annotations, 0), Load: load, Startup: time.Second, Timeout: 5 * time.Minute, Start: model.UnknownReplicas,
	}
}
