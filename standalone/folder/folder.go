// Package folder keeps a data directory for its user alone: no other user can read its secrets or have put anything into it. It
// must not know what the files are.
package folder

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// others are the mode bits of all users but the owner.
const others = 0o077

// Make makes a data directory, or takes an existing one if only this user can have changed it. wasOpen reports that other users
// could read it until now; then Make has checked everything in it and closed it to them. The error says why the directory
// cannot be used.
func Make(dir string) (wasOpen bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("making the data directory: %w", err)
	}
	info, err := owned(dir)
	if err != nil || info.Mode()&others == 0 {
		return false, err
	}
	// Closed first, so that nothing changes while we check it.
	if err := os.Chmod(dir, info.Mode().Perm()&^others); err != nil {
		return false, fmt.Errorf("closing the data directory to others: %w", err)
	}
	return true, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && path != dir {
			err = closeEntry(dir, path)
		}
		if err != nil {
			return fmt.Errorf("the data directory was open to others: %w", err)
		}
		return nil
	})
}

// Check returns an error if other users can change an existing data directory.
func Check(dir string) error {
	info, err := owned(dir)
	if err != nil {
		return err
	}
	if info.Mode()&0o022 != 0 {
		return fmt.Errorf("others may write to the data directory %s: close it with chmod go-rwx, or name another with --data-dir", dir)
	}
	return nil
}

// owned returns what dir is, or an error if it is not a folder of this user.
func owned(dir string) (fs.FileInfo, error) {
	info, err := os.Lstat(strings.TrimRight(dir, "/"))
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("the data directory %s is a symbolic link: name the folder itself with --data-dir", dir)
	case !info.IsDir():
		return nil, fmt.Errorf("the data directory %s is no folder: name another with --data-dir", dir)
	case !isOurs(info):
		return nil, fmt.Errorf("the data directory %s belongs to another user: name another with --data-dir", dir)
	}
	return info, nil
}

func isOurs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// ownLink is the only symbolic link in a data directory: it leads to the program, and each start makes it again.
const ownLink = "bin/sluice"

// closeEntry closes an entry of a data directory to other users, or refuses it if they may have made it.
func closeEntry(dir, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	inside, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	isLink := info.Mode()&fs.ModeSymlink != 0
	switch {
	case !isOurs(info):
		return fmt.Errorf("%s belongs to another user: remove it", path)
	case isLink && inside != ownLink:
		return fmt.Errorf("%s is a symbolic link: remove it", path)
	case isLink || info.Mode()&others == 0:
		return nil
	}
	return os.Chmod(path, info.Mode().Perm()&^others)
}

// Read reads a file that is a secret. It follows no symbolic link, and closes the file if others could read it.
func Read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, refusal(path, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := secure(f, path); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// Open opens a file to write to, such as a lock, and makes it if there is none. It follows no symbolic link.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, refusal(path, err)
	}
	if err := secure(f, path); err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

func refusal(path string, err error) error {
	if errors.Is(err, syscall.ELOOP) {
		return fmt.Errorf("%s is a symbolic link, which Sluice does not follow: remove it", path)
	}
	return err
}

// secure closes an open file to other users, or refuses it if it is not a regular file of this user.
func secure(f *os.File, path string) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file: remove it", path)
	case !isOurs(info):
		return fmt.Errorf("%s belongs to another user: remove it", path)
	case info.Mode()&others != 0:
		return f.Chmod(info.Mode().Perm() &^ others)
	}
	return nil
}

// Write writes a file that only its owner may read, and replaces what has its name: it does not follow a symbolic link. No reader
// sees half of the file.
func Write(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Token returns the random text in a file, and makes the file if there is none.
func Token(path string) (string, error) {
	text, err := Read(path)
	if token := strings.TrimSpace(string(text)); err == nil && token != "" {
		return token, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := rand.Text()
	return token, Write(path, []byte(token+"\n"))
}
