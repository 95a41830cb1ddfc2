package knative

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// testsAtOnce bounds the tests of a suite that run in parallel. Most of their time they wait for replicas.
const testsAtOnce = "8"

// result is what became of a test of a suite, or of a subtest.
type result struct {
	action string // pass, fail or skip; empty when the suite ended within the test
	output strings.Builder
}

// results are by full name.
type results struct {
	byName map[string]*result
}

// names are in the order of the alphabet, a test before its subtests.
func (r *results) names() []string { return slices.Sorted(maps.Keys(r.byName)) }

// run is how suites are run.
type run struct {
	cluster *cluster
	images  images
	cache   string    // folder for what is built
	pattern string    // of the names of tests to run; empty for all
	log     io.Writer // gets the output as it comes
}

// suite builds a suite and runs its tests. An error says that the suite could not be run, not that a test failed.
func (r run) suite(ctx context.Context, s suite) (*results, error) {
	binary := filepath.Join(r.cache, s.name+".test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-tags=e2e", "-o", binary, s.pkg).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", s.pkg, err, out)
	}
	dirs, err := goList(ctx, "-f", "{{.Dir}}", s.pkg)
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"tool", "test2json", binary,
		"-test.v=test2json", "-test.timeout=50m", "-test.parallel=" + testsAtOnce, "-test.run=" + r.pattern,
		"-disable-logstream", // it follows the logs of Knative's own controllers
		"-ingressendpoint=" + r.cluster.node, "-dockerrepo=" + r.images.repository, "-imagetemplate=" + r.images.template(),
	}, s.args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dirs[0] // tests read files of their package
	cmd.Env = append(os.Environ(), r.cluster.variables()...)
	cmd.Stderr = r.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	found, readErr := readResults(out, r.log)
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || len(found.byName) == 0 {
			return nil, fmt.Errorf("run %s: %w", binary, err)
		}
	}
	return found, readErr
}

// readResults reads the events of test2json.
func readResults(events io.Reader, log io.Writer) (*results, error) {
	found := &results{byName: map[string]*result{}}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var event struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return found, fmt.Errorf("read %q: %w", lines.Text(), err)
		}
		if event.Action == "output" {
			fmt.Fprint(log, event.Output)
		}
		if event.Test == "" {
			continue
		}
		test := found.byName[event.Test]
		if test == nil {
			test = &result{}
			found.byName[event.Test] = test
		}
		switch event.Action {
		case "output":
			test.output.WriteString(event.Output)
		case "pass", "fail", "skip":
			test.action = event.Action
		}
	}
	return found, lines.Err()
}

// verdict compares a test's result with the list of known exceptions. problem is empty where they agree; reason is not where
// the list excuses the test.
func (s suite) verdict(name string, found *results) (problem, reason string) {
	action := found.byName[name].action
	if reason, listed := s.skipped[name]; listed && action == "pass" {
		return "passes, but stands in the list of known.go with this reason: " + reason, ""
	}
	switch reason := s.excuse(name); {
	case reason != "":
		return "", reason
	case action == "pass", action == "fail" && s.failsByExcused(name, found):
		return "", ""
	case action == "skip":
		return "the suite skips this test: enable it, or put it into the list of known.go", ""
	case action == "":
		return "the suite ended within this test", ""
	}
	return "fails", ""
}

// excuse returns why the list excuses a test: for itself, or for the test that it is a part of.
func (s suite) excuse(name string) string {
	for ; name != "."; name = path.Dir(name) {
		if reason := s.skipped[name]; reason != "" {
			return reason
		}
	}
	return ""
}

// failsByExcused reports whether a test fails because of subtests which the list excuses, and of no other.
func (s suite) failsByExcused(name string, found *results) bool {
	failed, excused := 0, 0
	for other, r := range found.byName {
		if r.action == "fail" && path.Dir(other) == name {
			failed++
			if s.excuse(other) != "" || s.failsByExcused(other, found) {
				excused++
			}
		}
	}
	return failed > 0 && failed == excused
}
