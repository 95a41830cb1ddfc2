package transport

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketPathsAreShortEnough(t *testing.T) {
	short, err := MakeSocketPath(t.TempDir(), "envoy.sock")
	if err != nil || !filepath.IsAbs(short) {
		t.Errorf("got %q, %v, want an absolute path", short, err)
	}
	if info, err := os.Stat(filepath.Dir(short)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder is %v, %v, want one that nobody else enters", info, err)
	}
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := socketPath(deep, "envoy.sock"); err == nil || !strings.Contains(err.Error(), "at most 107 bytes") ||
		!strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("far from here: got %q, %v, want an error that names the limit and the flag", path, err)
	}
	t.Chdir(deep)
	path, err := MakeSocketPath(".sluice", "envoy.sock")
	if err != nil || path != ".sluice/run/envoy.sock" {
		t.Fatalf("got %q, %v, want a path from here", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := MakeSocketPath(".sluice", "envoy.sock"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket of an earlier run is still there")
	}
}
