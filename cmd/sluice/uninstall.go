package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/metadata"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/removal"
)

func uninstallCommand() *cobra.Command {
	var server clusterFlags
	namespace := install.Defaults().Namespace
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Print what to delete of Sluice in a Kubernetes cluster, so that nothing stays",
		Long: `Uninstall looks for everything that Sluice has left in a cluster, whatever flags or version made it, and prints it
for kubectl delete, in the order of deletion. ALL SERVICES, with their revisions and pods, are a part of it. The command
itself changes nothing.`,
		Example: `  sluice uninstall                           # look first
  sluice uninstall | kubectl delete -f - --ignore-not-found`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := server.config()
			if err != nil {
				return fmt.Errorf("finding the API server: %w", err)
			}
			client, err := metadata.NewForConfig(config)
			if err != nil {
				return fmt.Errorf("connecting to the API server: %w", err)
			}
			items, err := removal.Find(c.Context(), client, namespace)
			if err != nil {
				return err
			}
			if len(items) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "sluice: the cluster has nothing of Sluice")
				return nil
			}
			text, err := removal.YAML(items)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	server.add(c)
	c.Flags().StringVar(&namespace, "namespace", namespace, "namespace of Sluice")
	return c
}
