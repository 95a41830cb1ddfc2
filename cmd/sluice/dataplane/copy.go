package dataplane

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// copyCommand lets an image that has nothing but this binary give it to a container of another image.
func copyCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "copy FILE",
		Short:  "Copy this binary to a file, for a container of another image in the same pod",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(_ *cobra.Command, args []string) error { return copySelf(args[0]) },
	}
}

// copySelf replaces the file at once, so that nobody starts a half of it.
func copySelf(to string) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	from, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading this binary: %w", err)
	}
	defer from.Close()
	part := to + ".part"
	out, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("copying this binary: %w", err)
	}
	_, err = io.Copy(out, from)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return fmt.Errorf("copying this binary: %w", err)
	}
	return nil
}
