package envoy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/envoy"
)

// script is a program that stands in for an Envoy.
func script(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckSaysWhatCannotBeTheGateway(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"too old": {"#!/bin/sh\necho 'envoy  version: abc/1.35.9/Clean/RELEASE/BoringSSL'", 0o700,
			"is Envoy 1.35.9: Sluice works with 1.36 and newer"},
		"no Envoy": {"#!/bin/sh\necho 'GNU bash, version 5.2\nand more'", 0o700,
			`is no Envoy: asked for its --version it prints "GNU bash, version 5.2"`},
		"dies at once":     {"#!/bin/sh\nkill -9 $$", 0o700, "is no Envoy: asked for its --version it ends with signal: killed"},
		"says nothing":     {"#!/bin/sh\n", 0o700, "is no Envoy: asked for its --version it prints nothing"},
		"no program":       {"\x7fELF", 0o700, "exec format error"},
		"not to be run":    {"#!/bin/sh\n", 0o600, "permission denied"},
		"misses a library": {"#!/no/such/interpreter\n", 0o700, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := script(t, test.text, test.mode)
			if _, err := envoy.Check(t.Context(), path); err == nil || !strings.Contains(err.Error(), test.want) ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error that names the file and says %q", err, test.want)
			}
		})
	}
}

func TestCheckAcceptsNewerVersions(t *testing.T) {
	for line, want := range map[string]envoy.Version{
		"envoy  version: bad8280de85c25b147a90c1d9b8a8c67a13e7134/1.36.4/Clean/RELEASE/BoringSSL": {Major: 1, Minor: 36, Patch: 4},
		"/usr/bin/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL":                            {Major: 1, Minor: 40},
		"envoy  version: 9e55/1.41.0-dev/Modified/DEBUG/BoringSSL-FIPS":                           {Major: 1, Minor: 41},
		"envoy  version: 9e55/2.0.1/Clean/RELEASE/AWS-LC":                                         {Major: 2, Patch: 1},
	} {
		got, err := envoy.Check(t.Context(), script(t, "#!/bin/sh\necho\necho '"+line+"'\n", 0o700))
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", line, got, err, want)
		}
	}
}
