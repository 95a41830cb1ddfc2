// Package transport is how clients reach the xDS server of a `sluice up`: in memory, through a Unix socket or at a TCP address. It
// decides what a client has proved by the way it came, and must not know what the server serves.
package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"sluice.dev/sluice/envoy"
)

const (
	// DefaultDataDir is the data directory, relative to the folder that `sluice up` is started in.
	DefaultDataDir = ".sluice"
	// UnixScheme begins an address that is the path of a socket.
	UnixScheme = "unix:"
	// xdsSocket is the socket of the xDS server.
	xdsSocket = "xds.sock"
)

// MakeSocketPath returns the path of a socket in the data directory that can be listened on: it makes the folder, which only this user
// may enter, and removes the socket of an earlier run.
func MakeSocketPath(dataDir, name string) (string, error) {
	path, err := socketPath(dataDir, name)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		return "", fmt.Errorf("making a folder for sockets: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("removing the socket of an earlier run: %w", err)
	}
	return path, nil
}

// socketPath is absolute, or relative to the working directory where the absolute path is too long for a socket.
func socketPath(dataDir, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dataDir, "run", name))
	if err != nil || len(path) <= envoy.MaxSocketPath {
		return path, err
	}
	working, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if path, err = filepath.Rel(working, path); err != nil {
		return "", err
	}
	if len(path) > envoy.MaxSocketPath {
		return "", fmt.Errorf("the path of a socket has at most %d bytes, and %s has %d: choose a shorter "+
			"--data-dir", envoy.MaxSocketPath, path, len(path))
	}
	return path, nil
}

// reach returns an error if nobody listens on a socket.
func reach(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}
