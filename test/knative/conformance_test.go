package knative

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// TestConformance runs the suites, and has a subtest for each of their tests.
func TestConformance(t *testing.T) {
	ctx := t.Context()
	c := connect(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "sluice-knative")
	if err := c.applyTestResources(ctx); err != nil {
		t.Fatal(err)
	}
	undo, err := c.limitProgress(ctx)
	if err != nil {
		t.Fatalf("set the progress deadline: %v", err)
	}
	t.Cleanup(func() {
		if err := undo(context.Background()); err != nil {
			t.Errorf("put back the progress deadline: %v", err)
		}
	})
	pushed, err := pushImages(ctx, cache, repository(t), c.arch)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suites {
		t.Run(s.name, func(t *testing.T) {
			out := io.Discard
			if testing.Verbose() {
				out = t.Output()
			}
			found, err := run{c, pushed, cache, wanted(), out}.suite(ctx, s)
			if err != nil {
				t.Fatal(err)
			}
			report(t, s, found)
		})
	}
}

// connect finds Sluice in the cluster of KUBECONFIG. It skips the test where there is none, and fails it in CI.
func connect(t *testing.T) *cluster {
	t.Helper()
	absent := t.Skip
	if os.Getenv("CI") != "" {
		absent = t.Fatal
	}
	kubeconfig := os.Getenv("KUBECONFIG")
	if kubeconfig == "" {
		absent("the conformance suites need a cluster with Sluice installed: name one in KUBECONFIG")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := findCluster(t.Context(), config)
	var missing errAbsent
	if errors.As(err, &missing) {
		absent("the conformance suites need Sluice in the cluster of KUBECONFIG: " + missing.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// repository is where the test images go: KO_DOCKER_REPO, or a registry of this process.
func repository(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("KO_DOCKER_REPO"); named != "" {
		return named
	}
	address, stop, err := serveRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop the registry: %v", err)
		}
	})
	return address
}

// wanted is the pattern for the suites' own tests: what follows the name of a suite in -run.
func wanted() string {
	_, pattern, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/") // TestConformance
	_, pattern, _ = strings.Cut(pattern, "/")                                 // the suite
	return pattern
}

// report makes a subtest of each test of a suite.
func report(t *testing.T, s suite, found *results) {
	for _, name := range found.names() {
		t.Run(name, func(t *testing.T) {
			problem, reason := s.verdict(name, found)
			if problem != "" {
				t.Errorf("%s\n%s", problem, found.byName[name].output.String())
			}
			if reason != "" {
				t.Skip(reason)
			}
		})
	}
	if wanted() != "" {
		return
	}
	for name := range s.skipped {
		if found.byName[name] == nil {
			t.Errorf("%s stands in the list of known.go, but the suite has no such test", name)
		}
	}
}
