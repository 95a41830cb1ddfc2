// Command sluice runs request-driven services behind Envoy with Knative's API: on one machine with `sluice up`,
// or part by part.
package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/dataplane"
	"sluice.dev/sluice/cmd/sluice/send"
	"sluice.dev/sluice/cmd/sluice/taskclient"
)

func main() { command.Main(root()) }

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "sluice",
		Short: "Request-driven services behind Envoy, with Knative's API",
		Long: `Sluice runs request-driven services behind Envoy. It takes Knative's YAML and the kn command
unchanged, keeps immutable revisions, splits traffic between them by weight, and programs
Envoy and proxyless gRPC clients over xDS.

Start here:

  sluice up -f examples/canary     everything on this machine, and the services of a folder
  kubectl --kubeconfig .sluice/kubeconfig get ksvc`,
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(
		upCommand(), controllerCommand(), translateCommand(), simulateCommand(), scheduleCommand(), explainCommand(), xdsCommand(),
		installCommand(), uninstallCommand(), checkCommand(), scalerCommand(), send.Command(), taskclient.Command(), sampleCommand(),
		storeCommand(), versionCommand(),
	)
	c.AddCommand(dataplane.Commands()...)
	return c
}
