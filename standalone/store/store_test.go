package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this program be the process of a store.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_DIR"); dir != "" {
		Serve(Config{
			Dir: dir, Socket: os.Getenv("STORE_SOCKET"), Existing: os.Getenv("STORE_EXISTING") != "",
			Orphaned: func() { noteOrphaned(dir) },
		})
		return
	}
	os.Exit(m.Run())
}

// orphanedFile is a file beside a store's files that says whether they were locked when Orphaned was called.
const orphanedFile = "orphaned"

func noteOrphaned(dir string) {
	locked := "not locked"
	if f, err := os.Open(filepath.Join(dir, "lock")); err == nil && syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		locked = "locked"
	}
	_ = os.WriteFile(filepath.Join(dir, "..", orphanedFile), []byte(locked), 0o600)
}

// timeout is how long a test waits for what must happen, on a machine of any load.
const timeout = 2 * time.Minute

// machine starts the processes of a test's store.
type machine struct {
	noFiles atomic.Bool              // new processes may not write to files
	newest  atomic.Pointer[exec.Cmd] // the newest process; its pid may be read while the store serves
}

// kill kills the process as the kernel does when memory runs out, and returns when the store starts the next one.
func (m *machine) kill(t *testing.T) {
	t.Helper()
	cmd := m.newest.Load()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(timeout); m.newest.Load() == cmd; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store is not started again")
		}
	}
}

func (m *machine) command(dir, socket string, existing bool) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self)
	if m.noFiles.Load() {
		cmd = exec.Command("sh", "-c", `ulimit -f 0 && exec "$0"`, self)
	}
	cmd.Env = []string{"STORE_DIR=" + dir, "STORE_SOCKET=" + socket}
	if existing {
		cmd.Env = append(cmd.Env, "STORE_EXISTING=yes")
	}
	m.newest.Store(cmd)
	return cmd
}

func start(t *testing.T, dir string) (*Store, *machine) {
	t.Helper()
	m := &machine{}
	s, err := Start(t.Context(), Options{Dir: dir, Command: m.command})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s, m
}

func put(t *testing.T, s *Store, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	if _, err := s.Client().Put(ctx, key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *Store, key string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	for {
		got, err := s.Client().Get(ctx, key)
		switch {
		case err == nil && len(got.Kvs) == 1:
			return string(got.Kvs[0].Value)
		case err == nil:
			t.Fatalf("%s is not stored", key)
		case ctx.Err() != nil:
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// failure waits until the store does not serve for a reason that contains a text; with an empty text, until it serves.
func failure(t *testing.T, s *Store, text string) {
	t.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(5 * time.Millisecond) {
		err := s.Failure()
		if text == "" && err == nil || err != nil && text != "" && strings.Contains(err.Error(), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the store says %v, want %q", err, text)
		}
	}
}

func TestStoreIsStartedAgain(t *testing.T) {
	s, m := start(t, t.TempDir())
	put(t, s, "key", "value")
	for range 3 {
		m.kill(t)
		failure(t, s, "")
		if got := get(t, s, "key"); got != "value" {
			t.Errorf("the value is %q after the kill", got)
		}
	}
}

func TestStoreWhoseFilesAreGoneDoesNotStartEmpty(t *testing.T) {
	dir := t.TempDir()
	s, m := start(t, dir)
	put(t, s, "key", "value")
	if err := os.Rename(filepath.Join(dir, "etcd"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	m.kill(t)
	failure(t, s, "is gone although it was in use")
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "etcd")); err != nil {
		t.Fatal(err)
	}
	failure(t, s, "")
	if got := get(t, s, "key"); got != "value" {
		t.Errorf("the value is %q now that the files are back", got)
	}
}

func TestStoreServesAgainWhenItMayWriteAgain(t *testing.T) {
	s, m := start(t, t.TempDir())
	put(t, s, "key", "value")
	m.noFiles.Store(true)
	m.kill(t)
	failure(t, s, "etcd")
	dialed := make(chan error, 1)
	go func() {
		conn, err := s.Dial(t.Context())
		if err == nil {
			err = conn.Close()
		}
		dialed <- err
	}()
	select {
	case err := <-dialed:
		t.Fatalf("a client was connected to a store that does not serve: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	m.noFiles.Store(false)
	failure(t, s, "")
	if err := <-dialed; err != nil {
		t.Errorf("a client that waited for the store got %v", err)
	}
	if got := get(t, s, "key"); got != "value" {
		t.Errorf("the value is %q now that it may write", got)
	}
}

// TestDamageIsReportedInASentence damages the files of a store between two starts.
func TestDamageIsReportedInASentence(t *testing.T) {
	whole := t.TempDir()
	s, _ := start(t, whole)
	for i := range 50 {
		put(t, s, fmt.Sprint("key", i), strings.Repeat("value", 100))
	}
	s.Stop()
	const log, database = "wal/0000000000000000-0000000000000000.wal", "snap/db"
	for name, c := range map[string]struct {
		file, says string
		damage     func(path string) error
	}{
		"no log":                  {log, "the write-ahead log of the store is missing", os.Remove},
		"cut log":                 {log, "the write-ahead log was cut", func(path string) error { return os.Truncate(path, 1000) }},
		"empty log":               {log, "cannot be used", func(path string) error { return os.Truncate(path, 0) }},
		"garbage in the log":      {log, "crc mismatch", garbage(5 << 10)},
		"no database":             {database, "the database of the store is missing", os.Remove},
		"garbage at the database": {database, "invalid database", garbage(0)},
		"garbage in the database": {database, "cannot be used", garbage(8 << 10)},
		"cut database":            {database, "cannot be used", func(path string) error { return os.Truncate(path, 8<<10) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(filepath.Join(dir, "etcd", "member", c.file)); err != nil {
				t.Fatal(err)
			}
			s, err := Start(t.Context(), Options{Dir: dir, Command: new(machine).command})
			if err == nil {
				s.Stop()
				t.Fatal("it starts")
			}
			for _, want := range []string{c.says, filepath.Join(dir, "etcd"), "put a copy of", "apply your manifests again"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it says %q, without %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("it says more than a sentence: %q", err)
			}
		})
	}
}

func garbage(at int64) func(path string) error {
	return func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(bytes.Repeat([]byte(rand.Text()), 1<<10), at)
		return err
	}
}

// TestFirstStartThatWasCutShortIsTriedAgain: etcd makes its database before its log.
func TestFirstStartThatWasCutShortIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	snap := filepath.Join(dir, "etcd", "member", "snap")
	if err := os.MkdirAll(snap, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(snap, "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := start(t, dir)
	put(t, s, "key", "value")
}

// TestStartThatHangsIsStopped: a process that neither serves nor ends does not keep Start from returning when its context ends.
func TestStartThatHangsIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Start(ctx, Options{Dir: t.TempDir(), Command: func(string, string, bool) *exec.Cmd {
		time.AfterFunc(10*time.Millisecond, cancel)
		return exec.Command("sleep", "3600")
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the start ends with %v", err)
	}
}

// TestStoreEndsWithItsParent: the store's process gives up its files when its parent has ended in any way.
func TestStoreEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	cmd := new(machine).command(filepath.Join(dir, "etcd"), filepath.Join(dir, "etcd.sock"), false)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, len(readyWord))); err != nil {
		t.Fatal(err)
	}
	_ = in.Close() // as the kernel does when the parent was killed
	s, m := start(t, dir)
	put(t, s, "key", "value")
	_ = cmd.Wait()
	path := filepath.Join(dir, orphanedFile)
	if said, err := os.ReadFile(path); string(said) != "locked" {
		t.Errorf("when the first store lost its parent, the files were %q (%v), want them locked", said, err)
	}
	_ = os.Remove(path)
	m.kill(t) // its parent lives
	failure(t, s, "")
	s.Stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("a store whose parent lives calls Orphaned")
	}
}

// The API server connects while it ends: a connection that did not come would hold its end for 20 s.
func TestConnectionsAreMadeAfterLeave(t *testing.T) {
	s, m := start(t, t.TempDir())
	during, end := s.While(t.Context())
	defer end()
	s.Leave()
	select {
	case <-during.Done():
	case <-time.After(timeout):
		t.Error("a request goes on after Leave")
	}
	dial := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		conn, err := s.Dial(ctx)
		if err != nil {
			t.Fatal("no connection after Leave:", err)
		}
		_ = conn.Close()
	}
	dial()
	m.kill(t)
	dial()
	if s.Failure() == nil {
		t.Error("the store takes requests again after Leave")
	}
}
