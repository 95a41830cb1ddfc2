// Package dataplane is the commands of the processes in the request path: activator, gateway, and what gets a gateway started. Both
// binaries, sluice and data-plane, have them.
//
// It must know neither Kubernetes nor the control plane: what these commands import is what each process of the data plane keeps in memory.
package dataplane

import "github.com/spf13/cobra"

// Commands returns the commands, for the root command of a binary.
func Commands() []*cobra.Command {
	return []*cobra.Command{gatewayCommand(), activatorCommand(), bootstrapCommand(), copyCommand()}
}
