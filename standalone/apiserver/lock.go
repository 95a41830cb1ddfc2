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

// ErrInUse is wrapped by the error of Start when another process uses the data directory.
var ErrInUse = errors.New("in use by another process")

// lockDir makes this process the only one that uses dir, until the file is closed or the process ends in any way. Without the
// lock a second process would replace the etcd socket of the first and get its clients.
func lockDir(dir string, log hclog.Logger) (*os.File, error) {
	wasOpen, err := folder.Make(dir)
	if err != nil {
		return nil, err
	}
	if wasOpen {
		log.Warn("others could read the data directory until now; "+
			"it is closed to them now, but they may have read the secrets in it", "dir", dir)
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
		return nil, fmt.Errorf("data directory %s is %w: stop that process, or choose another directory with --data-dir", dir, ErrInUse)
	}
	return nil, fmt.Errorf("locking the data directory %s: %w", dir, err)
}
