package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/preflight"
)

func checkCommand() *cobra.Command {
	var server clusterFlags
	o := install.Defaults()
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what a Kubernetes cluster lacks for an installation",
		Long: `Check looks at a cluster before sluice install: its version, objects of others with the same names (Knative's kinds
among them), what this user may do, what the API server says to the objects in a dry run, Pod Security, images on the
nodes, load balancers. Give it the flags of sluice install. It changes nothing.

It prints a line for each thing: ok, note (only you can tell), or lacks, with what to do about it. The exit code is 0
when nothing lacks, 1 when something does, and 2 when the cluster cannot be asked.`,
		Example: `  sluice check --domain apps.example.com && sluice install --domain apps.example.com | kubectl apply -f -`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return command.Exit{Code: 2, Err: err}
			}
			config, err := server.config()
			if err != nil {
				return command.Exit{Code: 2, Err: fmt.Errorf("finding the API server: %w", err)}
			}
			findings, err := preflight.Check(c.Context(), config, o)
			for _, f := range findings {
				fmt.Fprintln(c.OutOrStdout(), f)
			}
			if err != nil {
				return command.Exit{Code: 2, Err: err}
			}
			if preflight.Worst(findings) == preflight.Lacks {
				return command.Exit{Code: 1}
			}
			return nil
		},
	}
	server.add(c)
	o.AddFlags(c.Flags())
	return c
}
