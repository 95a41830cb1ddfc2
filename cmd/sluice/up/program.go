package up

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sluice.dev/sluice/standalone/store"
)

// linkProgram links the program into a folder that is first on the PATH of services: the examples run `sluice sample`, also when Sluice
// itself was started by `go run`. It returns the folder, empty without a program.
func (o *Options) linkProgram() (bin string, err error) {
	if o.Program == "" {
		return "", nil
	}
	if bin, err = filepath.Abs(filepath.Join(o.DataDir, "bin")); err != nil {
		return "", err
	}
	program, err := filepath.Abs(o.Program)
	if err != nil {
		return "", err
	}
	link := filepath.Join(bin, "sluice")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return "", err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := os.Symlink(program, link); err != nil {
		return "", fmt.Errorf("linking the program for services: %w", err)
	}
	return bin, nil
}

// thisProgram is the file of this process, also when another has its name since. (/proc/self is who reads it: between fork and exec that
// is still this process.)
const thisProgram = "/proc/self/exe"

// storeCommand is how the store is started as a process of its own; nil without a program.
func (o *Options) storeCommand() func(dir, socket string, existing bool) *exec.Cmd {
	if o.Program == "" {
		return nil
	}
	program := o.Program
	if own, err := os.Executable(); err == nil && own == program {
		if _, err := os.Stat(thisProgram); err == nil {
			program = thisProgram
		}
	}
	return store.Command(program)
}
