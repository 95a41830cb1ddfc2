package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func copyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "copy PATH",
		Short: "Copy this program, for a container whose image does not have it",
		Long: `Copy writes this program to a path. An init container does that in a gateway's pod, so that the program can
supervise the Envoy of another image.`,
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return copyProgram(args[0])
		},
	}
}

// copyProgram writes the running program to a path, which has it whole or not at all.
func copyProgram(to string) (err error) {
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	from, err := os.Open(own)
	if err != nil {
		return fmt.Errorf("reading this program: %w", err)
	}
	defer from.Close()
	part, err := os.OpenFile(to+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o700)
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	_, err = io.Copy(part, from)
	if closed := part.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(to+".part", to)
	}
	if err != nil {
		return fmt.Errorf("copying this program: %w", err)
	}
	return nil
}
