package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/standalone/store"
)

// storeCommand is the process that keeps the objects of a `sluice up`. See store.Command.
func storeCommand() *cobra.Command {
	var c store.Config
	command := &cobra.Command{
		Use: "store", Hidden: true, Args: cobra.NoArgs,
		Short: "Keep the objects of a sluice up, which starts this",
		Run:   func(*cobra.Command, []string) { store.Serve(c) },
	}
	c.AddFlags(command.Flags())
	return command
}
