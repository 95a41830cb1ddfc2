package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/standalone/process"
	"sluice.dev/sluice/standalone/store"
)

// storeCommand is the process that keeps the objects of a `sluice up`, its parent; see store.Command. When the parent was killed, it ends
// the processes that the parent has left behind.
func storeCommand() *cobra.Command {
	var c store.Config
	command := &cobra.Command{
		Use: "store", Hidden: true, Args: cobra.NoArgs,
		Short: "Keep the objects of a sluice up, which starts this",
		Run: func(*cobra.Command, []string) {
			parent := process.Identify(os.Getppid())
			c.Orphaned = func() { process.EndOrphans(filepath.Dir(c.Dir), parent) } // the store is a folder of the data directory
			store.Serve(c)
		},
	}
	c.AddFlags(command.Flags())
	return command
}
