package main

import (
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/standalone/store"
)

// storeCommand is the process that keeps the objects of `sluice up`, which starts it.
func storeCommand() *cobra.Command {
	var c store.Config
	command := &cobra.Command{
		Use: "store", Hidden: true, Args: cobra.NoArgs,
		Short: "Keep the objects of a sluice up, which starts this",
		Run:   func(*cobra.Command, []string) { store.Serve(c) },
	}
	command.Flags().StringVar(&c.Dir, "dir", "", "directory of its files")
	command.Flags().StringVar(&c.Socket, "socket", "", "socket to listen on")
	command.Flags().BoolVar(&c.Existing, "existing", false, "refuse to begin with nothing")
	return command
}

// self is this very program, also when its file was replaced since. (/proc/self is who reads it: between fork and exec, still us.)
const self = "/proc/self/exe"

// storeProcess is the command of that process.
func storeProcess(dir, socket string, existing bool) *exec.Cmd {
	path := self
	if _, err := os.Stat(self); err != nil {
		path, _ = os.Executable() // an error shows when it is started
	}
	line := []string{"store", "--dir", dir, "--socket", socket}
	if existing {
		line = append(line, "--existing")
	}
	cmd := exec.Command(path, line...) //nolint:gosec // it is this very program
	cmd.Env = []string{"GOTRACEBACK=single"}
	return cmd
}
