// Package realenvoy finds the Envoys that tests run, and the complaints in their logs and statistics.
//
// It starts no Envoy: package envoy or the test does.
package realenvoy

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Find returns the Envoy to test with: the one that ENVOY_BIN names, else the newest that `make envoy` has installed. If there is
// none, the test is skipped, or fails if CI is set.
func Find(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("ENVOY_BIN"); path != "" {
		return named(t, path)
	}
	all := All(t)
	return all[len(all)-1]
}

// All returns the Envoys that `make envoy` has installed, the oldest first, or else the one that ENVOY_BIN names. If there is none,
// the test is skipped, or fails if CI is set.
func All(t testing.TB) []string {
	t.Helper()
	all := installed(root(t))
	if path := os.Getenv("ENVOY_BIN"); path != "" && len(all) == 0 {
		all = append(all, named(t, path))
	}
	if len(all) == 0 {
		const none = "there is no Envoy to test with: install one with `make envoy`, or name one in ENVOY_BIN"
		if os.Getenv("CI") != "" {
			t.Fatal(none)
		}
		t.Skip("SKIPPED: " + none)
	}
	return all
}

// Name returns a name for the test of one of All: its version if `make envoy` has installed it.
func Name(path string) string { return filepath.Base(filepath.Dir(path)) }

// named returns the Envoy that ENVOY_BIN names. A relative path starts at the root of the repository, since tests run in the folder of
// their package.
func named(t testing.TB, path string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(root(t), path)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("ENVOY_BIN names no file: %v", err)
	}
	return path
}

// installed are the Envoys at .envoy/VERSION/envoy.
func installed(root string) []string {
	all, _ := filepath.Glob(filepath.Join(root, ".envoy", "[0-9]*", "envoy"))
	all = slices.DeleteFunc(all, func(path string) bool {
		_, err := os.Stat(path) // follows links
		return err != nil
	})
	slices.SortFunc(all, func(a, b string) int { return compareVersions(Name(a), Name(b)) })
	return all
}

func compareVersions(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return cmp.Compare(m, n)
	})
}

// root returns the folder of the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		text, _ := os.ReadFile(filepath.Join(dir, "go.mod"))
		if strings.HasPrefix(string(text), "module sluice.dev/sluice\n") {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("the test does not run within the repository")
		}
		dir = up
	}
}
