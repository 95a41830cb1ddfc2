package store

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk can cut the last entry of the log, and etcd needs room to repair that.
func TestCutEntryOnAFullDiskAsksForRoom(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=300m"); err != nil {
		t.Skipf("skipped: no disk of our own: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s, _ := start(t, dir)
	put(t, s, "key", "value")
	s.Stop()
	log := filepath.Join(dir, "etcd", "member", "wal", "0000000000000000-0000000000000000.wal")
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, int64(len(bytes.TrimRight(text, "\x00")))-3); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	f.Close()
	if _, err := Start(t.Context(), Options{Dir: dir, Command: new(machine).command}); err == nil ||
		!strings.Contains(err.Error(), "make room") {
		t.Errorf("on the full disk it says %v, want that it needs room", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s, _ = start(t, dir)
	defer s.Stop()
	put(t, s, "key", "again")
}
