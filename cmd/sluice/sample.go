package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/sample"
)

func sampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sample",
		Short: "Run the app of the examples",
		Long: `Sample greets with $TARGET and its revision ($K_REVISION) on $PORT. A query asks for more:
?sleep=100ms waits, ?cpu=50ms computes, ?size=10kb adds bytes. /ws echoes a WebSocket, /healthz answers 200,
and the gRPC service sluice.sample.Echo answers each text with the greeting (Echo, and Stream for many).`,
		Example: `  PORT=9000 TARGET=World sluice sample`,
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return sample.Run(c.Context(), sample.FromEnvironment()) },
	}
}
