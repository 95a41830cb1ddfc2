// Command data-plane is the processes in the request path of a cluster, without the rest of sluice. They have the same commands and flags
// there. A process of it takes a third of the memory that one of sluice takes, most of which is the binary.
package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/dataplane"
)

func main() {
	c := &cobra.Command{
		Use:   "data-plane",
		Short: "The gateway and the activator of Sluice, for the pods of a cluster",
		Long: `Data-plane runs what stands in the path of requests: a gateway, or an activator. These are commands of
sluice too; this binary has nothing else, so that its processes are small.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(dataplane.Commands()...)
	command.Main(c)
}
