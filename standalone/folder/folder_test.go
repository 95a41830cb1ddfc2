package folder_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sluice.dev/sluice/standalone/folder"
)

// put makes a file with a mode, independent of the umask.
func put(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// open makes a data directory with files that others can reach.
func open(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	for _, path := range []string{dir, filepath.Join(dir, "logs"), filepath.Join(dir, "bin")} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "token"), "secret", 0o644)
	put(t, filepath.Join(dir, "logs", "a.log"), "secret", 0o664)
	return dir
}

func TestOpenDataDirectoryIsClosed(t *testing.T) {
	dir := open(t)
	if err := os.Symlink("/usr/bin/env", filepath.Join(dir, "bin", "sluice")); err != nil {
		t.Fatal(err)
	}
	if wasOpen, err := folder.Make(dir); !wasOpen || err != nil {
		t.Fatalf("%v, %v", wasOpen, err)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, "logs": 0o700, "logs/a.log": 0o600, "token": 0o600, "bin": 0o700} {
		if got := modeOf(t, filepath.Join(dir, path)); got != want {
			t.Errorf("%q has mode %o, want %o", path, got, want)
		}
	}
	if wasOpen, err := folder.Make(dir); wasOpen || err != nil {
		t.Errorf("again: %v, %v", wasOpen, err)
	}
	made := filepath.Join(t.TempDir(), "a", "b")
	if wasOpen, err := folder.Make(made); wasOpen || err != nil || modeOf(t, made) != 0o700 {
		t.Errorf("a new one: %v, %v", wasOpen, err)
	}
}

func TestDataDirectoryThatOthersCanHaveChangedIsRefused(t *testing.T) {
	linked := open(t)
	if err := os.Symlink(filepath.Join(linked, "token"), filepath.Join(linked, "kubeconfig")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, "", 0o600)
	tests := map[string]string{
		linked: "kubeconfig is a symbolic link", link: "is a symbolic link", link + "/": "is a symbolic link", file: "not a directory",
	}
	if os.Geteuid() == 0 { // only root can give files away
		foreign, within := t.TempDir(), open(t)
		for _, path := range []string{foreign, filepath.Join(within, "logs")} {
			if err := os.Chown(path, 12345, 12345); err != nil {
				t.Fatal(err)
			}
		}
		tests[foreign], tests[within] = "belongs to another user", "logs belongs to another user"
	}
	for dir, want := range tests {
		if _, err := folder.Make(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	for _, dir := range []string{link, file} {
		if err := folder.Check(dir); err == nil || !strings.Contains(err.Error(), "--data-dir") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	loose := t.TempDir()
	if err := os.Chmod(loose, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := folder.Check(loose); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a folder that others may write to: %v", err)
	}
	if err := folder.Check(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreReadAndWrittenWithoutFollowingLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	put(t, target, "theirs", 0o644)
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if text, err := folder.Read(link); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("reading a link: %q, %v", text, err)
	}
	if f, err := folder.Open(link); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("opening a link: %v, %v", f, err)
	}
	if err := folder.Write(link, []byte("ours")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "theirs" {
		t.Errorf("what the link led to is %q, %v", text, err)
	}
	if text, err := folder.Read(link); err != nil || string(text) != "ours" || modeOf(t, link) != 0o600 {
		t.Errorf("the written file has %q, %v, mode %o", text, err, modeOf(t, link))
	}
	if _, err := folder.Read(target); err != nil || modeOf(t, target) != 0o600 {
		t.Errorf("reading what others can read: %v, mode %o", err, modeOf(t, target))
	}
	if err := folder.Write(target, []byte("new")); err != nil || modeOf(t, target) != 0o600 {
		t.Errorf("writing over it: %v, mode %o", err, modeOf(t, target))
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Read(fifo); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("reading a FIFO: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTokenIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	first, err := folder.Token(path)
	if err != nil || len(first) < 20 || modeOf(t, path) != 0o600 {
		t.Fatalf("%q, %v, mode %o", first, err, modeOf(t, path))
	}
	if again, err := folder.Token(path); err != nil || again != first {
		t.Errorf("again: %q, %v, want %q", again, err, first)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if other, err := folder.Token(path); err != nil || other == first {
		t.Errorf("another: %q, %v", other, err)
	}
}
