package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// lockPatience is how long a store whose user was killed may take to end, and lockPoll how often that is asked.
	lockPatience = 10 * time.Second
	lockPoll     = 5 * time.Millisecond
	// markName is a file that says that the store has served: what it has written is all there.
	markName = "complete"
)

// lock makes this process the only one with a store in dir, which it makes.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockPoll) {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, nil
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("another process has it: %w", err)
		}
	}
}

// check refuses what etcd would take for something else: a database without its log is to it a new member, which answers nobody,
// and an empty directory a new store, by which everything that runs would be deleted.
func check(dir string, existing bool) error {
	logs, _ := filepath.Glob(filepath.Join(member(dir, "wal"), "*.wal")) // the pattern is well-formed
	_, err := os.Stat(member(dir, "snap/db"))
	database := err == nil
	_, err = os.Stat(filepath.Join(dir, markName))
	used := existing || err == nil
	switch {
	case len(logs) > 0 && database, len(logs) == 0 && !database && !used:
		return nil
	case !used && len(logs) == 0:
		// Its first start ended in between, with nothing stored.
		return os.RemoveAll(filepath.Join(dir, "member"))
	case !used:
		return nil // from before there was a mark; etcd makes the database from the log if that is whole
	case len(logs) == 0 && !database:
		return errGone(dir)
	case len(logs) == 0:
		return fmt.Errorf("the write-ahead log of the store is missing: no file in %s: %s", member(dir, "wal"), restore(dir))
	}
	return fmt.Errorf("the database of the store is missing: no file %s: %s", member(dir, "snap/db"), restore(dir))
}

func errGone(dir string) error {
	return fmt.Errorf("the store %s is gone although it was in use: %s", dir, restore(dir))
}

func restore(dir string) string {
	return fmt.Sprintf("put a copy of %s back, or move it away, start anew, and apply your manifests again", dir)
}

// mark notes that the store has served.
func mark(dir string) error {
	path := filepath.Join(dir, markName)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, nil, 0o600)
}

// errCut says that the log is older than the database.
var errCut = errors.New("the write-ahead log was cut")

// explain says what has happened to the store in dir, and what can be done about it.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the store %s cannot write, for its disk is full: make room, and nothing else needs to be done (%w)", dir, err)
	case errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("the store %s cannot write, for its files may not grow: raise the limit (ulimit -f) and start again (%w)", dir, err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("the store %s has too few file descriptors: raise the limit (ulimit -n) and start again (%w)", dir, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("the store %s cannot be written: make it writable for this user (%w)", dir, err)
	case errors.Is(err, syscall.EWOULDBLOCK):
		return fmt.Errorf("the store %s is in use by another process: end that one (%w)", dir, err)
	case errors.Is(err, errCut):
		return fmt.Errorf("the store in %s cannot be read (%w): %s", member(dir, "wal"), err, restore(dir))
	}
	return fmt.Errorf("the store %s cannot be used (%w): %s", dir, err, restore(dir))
}
