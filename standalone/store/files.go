package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// lockTimeout is how long lock waits for the store of a killed process, which calls Orphaned before it ends; lockPoll is how often it
	// tries.
	lockTimeout = 20 * time.Second
	lockPoll    = 5 * time.Millisecond
	// markName is the file that exists once the store has served, and so has all of etcd's files.
	markName = "complete"
)

// lock makes dir if there is none, and this process the only one with a store in it.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(lockPoll) {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { _ = f.Close() }, nil
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return nil, fmt.Errorf("another process has locked it: %w", err)
		}
	}
}

// check refuses files that etcd would misunderstand. etcd takes a database without its log for a new member, which never
// serves. It takes an empty directory for a new store; with an empty store all running workloads would be deleted.
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
		// The first start was cut short, before anything was stored.
		return os.RemoveAll(filepath.Join(dir, "member"))
	case !used:
		return nil // written by a version without the mark; etcd makes the database from the log if the log is complete
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
	return fmt.Sprintf("put a copy of %s back, or move it away, start again, and apply your manifests again", dir)
}

// mark records that the store has served.
func mark(dir string) error {
	path := filepath.Join(dir, markName)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, nil, 0o600)
}

// errCut means that the log ends before the newest entry in the database.
var errCut = errors.New("the write-ahead log was cut")

// explain wraps an error of the store in dir in a sentence that says what is wrong and what to do.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT),
		// A full disk has cut an entry of the log. etcd repairs that by way of a copy, for which there must be room.
		errors.Is(err, io.ErrUnexpectedEOF) && !hasRoomForLog(dir):
		return fmt.Errorf("the store %s cannot write, because its disk is full: make room, and it goes on by itself (%w)", dir, err)
	case errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("the store %s cannot write, because its files may not grow: "+
			"raise the limit (ulimit -f) and start again (%w)", dir, err)
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

// hasRoomForLog says whether the disk has room for a copy of the newest file of the write-ahead log.
func hasRoomForLog(dir string) bool {
	logs, _ := filepath.Glob(filepath.Join(member(dir, "wal"), "*.wal")) // the pattern is well-formed, and sorts by age
	var disk syscall.Statfs_t
	if len(logs) == 0 || syscall.Statfs(dir, &disk) != nil {
		return true
	}
	log, err := os.Stat(logs[len(logs)-1])
	return err != nil || disk.Bavail*uint64(disk.Bsize) >= uint64(log.Size()) //nolint:gosec // sizes, of other types elsewhere
}
