package apiserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/standalone/folder"
)

// ErrInUse is wrapped by the error of Start when another process has the data directory.
var ErrInUse = errors.New("in use by another process")

// lockDir makes this process the only one that uses dir, until the file is closed or the process ends, however it ends.
// Without it a second process would remove the first one's etcd socket and take over its clients.
func lockDir(dir string, log hclog.Logger) (*os.File, error) {
	wasOpen, err := folder.Make(dir)
	if err != nil {
		return nil, err
	}
	if wasOpen {
		log.Warn("others could read the data directory; it is closed to them now, and what they have read they know", "dir", dir)
	}
	f, err := folder.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("data directory %s is %w: stop that one, or choose another directory with --data-dir", dir, ErrInUse)
	}
	return nil, fmt.Errorf("locking the data directory %s: %w", dir, err)
}
