package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// simulated runs `sluice simulate` with flags.
func simulated(t *testing.T, flags ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	c := root()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"simulate"}, flags...))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// atRoot changes to a folder in which the examples have the paths that the documents name.
func atRoot(t *testing.T) {
	t.Helper()
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(examples, "examples"); err != nil {
		t.Fatal(err)
	}
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config-autoscaler.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSimulateRunsItsOwnExamples(t *testing.T) {
	atRoot(t)
	for line := range strings.Lines(simulateCommand().Example) {
		flags := strings.Fields(line)[2:]
		if out, err := simulated(t, flags...); err != nil || !strings.Contains(out, "cost, replica-seconds") {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	svg, err := os.ReadFile("morning.svg")
	if err != nil || !strings.Contains(string(svg), "Service default/hello") {
		t.Errorf("the chart does not name the Service: %v", err)
	}
}

func TestSimulateTakesThePolicyOfAManifest(t *testing.T) {
	atRoot(t)
	for want, flags := range map[string][]string{
		"target 5.6 of 8 concurrency, containerConcurrency 10, scale 0 to 20, window 1m,": nil,
		"target 2.1 of 3 concurrency, containerConcurrency 10, scale 0 to 20, window 1m,": {"--annotation", "target=3"},
		"target 1.4 of 2 concurrency, containerConcurrency 2, scale 0 to 20, window 1m,":  {"--container-concurrency", "2"},
		"scale 0 to 20, window 30s,": {"--config", configFile(t, "stable-window: 30s")},
		"policy  target=5: target 3.5 of 5 concurrency, containerConcurrency 10":       {"--vs", "target=5"},
		"Service default/hello: target 5.6 of 8 concurrency, containerConcurrency 10,": {"--service", "default/hello"},
	} {
		out, err := simulated(t, append(flags, "-f", "examples/simulate/policy.yaml", "--length", "1m")...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s\nwant %q in it", flags, err, out, want)
		}
	}
}

const two = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: one}
spec: {template: {spec: {timeoutSeconds: 7, containers: [{image: a/b}]}}}
---
apiVersion: serving.knative.dev/v1
kind: Configuration
metadata: {name: two, namespace: other}
spec: {template: {metadata: {annotations: {autoscaling.knative.dev/max-scale: "3"}}, spec: {containers: [{image: a/b}]}}}
---
kind: Broken
`

func TestSimulateAsksWhichServiceIsMeant(t *testing.T) {
	file := filepath.Join(t.TempDir(), "two.yaml")
	if err := os.WriteFile(file, []byte(two), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := simulated(t, "-f", file); err == nil ||
		!strings.Contains(err.Error(), "choose one with --service: Configuration other/two, Service default/one") {
		t.Errorf("two in a file: %v", err)
	}
	if _, err := simulated(t, "-f", file, "--service", "three"); err == nil || !strings.Contains(err.Error(), `named "three"`) ||
		!strings.Contains(err.Error(), "Configuration other/two, Service default/one") {
		t.Errorf("one that is not there: %v", err)
	}
	if out, err := simulated(t, "-f", file, "--service", "two"); err != nil ||
		!strings.Contains(out, "Configuration other/two: target 70 of 100 concurrency, scale 0 to 3") {
		t.Errorf("the second: %v\n%s", err, out)
	}
	out, err := simulated(t, "-f", file, "--service", "one", "--start", "0", "--startup", "30s", "-o", "json")
	var got struct {
		Runs []struct{ Totals struct{ WaitMax float64 } }
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || got.Runs[0].Totals.WaitMax != 7 {
		t.Errorf("its requests must time out after its timeoutSeconds: %v %+v", err, got)
	}
}

func TestSimulateRefusesWhatIsWrong(t *testing.T) {
	atRoot(t)
	trace := configFile(t, "seconds,rps\n0,x\n")
	for want, flags := range map[string]string{
		"expected 1 <= 200 <= 100: autoscaling.knative.dev/target-utilization-percentage": "--annotation target-utilization-percentage=200",
		"target 0 should be at least 0.01: autoscaling.knative.dev/target":                "--vs target=0",
		`annotation "taget" is not known: want one of activation-scale`:                   "--annotation taget=10",
		`annotation "target" is not KEY=VALUE`:                                            "--annotation target",
		"only kpa.autoscaling.knative.dev can be simulated":                               "--annotation class=hpa.autoscaling.knative.dev",
		`shape "cube" is none of step`:                                                    "--shape cube",
		`line 2: rps is "x"`:                                                              "--trace " + trace,
		"[shape trace] were all set":                                                      "--shape step --trace " + trace,
		"absent.csv":                                                                      "--trace absent.csv",
		"absent.yaml":                                                                     "-f absent.yaml",
		"name a file with -f":                                                             "--service x",
		`--output "xml" is none of table, json and csv`:                                   "-o xml",
		"--every 1.5s is no number of whole seconds":                                      "--every 1500ms",
		"--latency 1µs is out of range: want 1ms":                                         "--latency 1us",
		"requests time out after 2h0m0s":                                                  "--timeout 2h",
		"drawing --svg: open absent/x.svg":                                                "--svg absent/x.svg",
		"Route of serving.knative.dev/v1 and DomainMapping of serving.knative.dev/v1beta1 are": "-f examples/simulate/none.yaml",
	} {
		if strings.Contains(flags, "none.yaml") {
			flags = "-f " + configFile(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n")
		}
		if out, err := simulated(t, strings.Fields(flags)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it\n%s", flags, err, want, out)
		}
	}
}

// What docs/simulate.md shows is what its commands print; a line may end early with an ellipsis.
func TestDocumentedSimulationsAreReal(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile("../../docs/images/simulate.svg")
	if err != nil {
		t.Fatal(err)
	}
	atRoot(t)
	out := ""
	for line := range strings.Lines(string(page)) {
		shown, isCode := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		if !isCode {
			continue
		}
		if flags, isCommand := strings.CutPrefix(shown, "sluice simulate "); isCommand {
			if out, err = simulated(t, strings.Fields(flags)...); err != nil {
				t.Fatalf("%s: %v", shown, err)
			}
			continue
		}
		if shown, _, _ = strings.Cut(shown, "…"); !strings.Contains(out, shown) {
			t.Errorf("the command before it does not print %q:\n%s", shown, out)
		}
	}
	if drawn, err := os.ReadFile("simulate.svg"); err != nil || string(drawn) != string(picture) {
		t.Errorf("docs/images/simulate.svg is not what the documented command draws (%v): draw it again", err)
	}
}
