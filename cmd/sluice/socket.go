package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"sluice.dev/sluice/envoy"
)

const (
	// unixScheme begins an address that is the path of a socket.
	unixScheme = "unix:"
	// xdsSocket is the socket of the xDS server.
	xdsSocket = "xds.sock"
	// defaultDataDir is the data directory, seen from the folder that `sluice up` is started in.
	defaultDataDir = ".sluice"
)

// makeSocketPath is the path of a socket (see socketPath) that can be listened on: its folder is there, only this user may enter it,
// and what an earlier run has left is gone.
func makeSocketPath(dataDir, name string) (string, error) {
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

// socketPath is where a `sluice up` has a socket. It is absolute, or from the working directory where that is too long.
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
		return "", fmt.Errorf("the path of a socket has at most %d bytes, and %s has %d: choose a shorter --data-dir", envoy.MaxSocketPath, path, len(path))
	}
	return path, nil
}

// reach finds out whether somebody listens on a socket.
func reach(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}
