package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/autoscaler/external"
	"sluice.dev/sluice/cmd/sluice/conformance"
	"sluice.dev/sluice/model"
)

// scalerCommand is about external scalers.
func scalerCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "scaler", Short: "For authors of external scalers",
		Long: "External scalers are servers of KEDA's gRPC contract that say how many replicas a service needs. docs/scalers.md has how a " +
			"ScalerBinding uses one.",
	}
	c.AddCommand(scalerCheckCommand())
	return c
}

// scalerCheckCommand checks that a server keeps the contract.
func scalerCheckCommand() *cobra.Command {
	var metadata map[string]string
	var plaintext bool
	var ca, cert, key, serverName string
	c := &cobra.Command{
		Use: "check ADDRESS", Short: "Check that an external scaler keeps the contract", Args: cobra.ExactArgs(1),
		Example: "  sluice scaler check 127.0.0.1:9191 --plaintext --metadata list=jobs",
		RunE: func(cmd *cobra.Command, args []string) error {
			with := model.ClientTLS{Plaintext: plaintext, ServerName: serverName}
			for _, f := range []struct {
				path string
				into *string
			}{{ca, &with.CA}, {cert, &with.Chain}, {key, &with.Key}} {
				if f.path == "" {
					continue
				}
				text, err := os.ReadFile(f.path)
				if err != nil {
					return fmt.Errorf("reading a certificate or key: %w", err)
				}
				*f.into = string(text)
			}
			conn, err := external.Dial(args[0], with, true)
			if err != nil {
				return err
			}
			defer conn.Close()
			if failed := conformance.Print(cmd.OutOrStdout(), conformance.Run(cmd.Context(), conn, metadata)); failed > 0 {
				return fmt.Errorf("%s does not keep the contract of external scalers", args[0])
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.StringToStringVar(&metadata, "metadata", nil, "metadata of a binding, KEY=VALUE; may be repeated")
	flags.BoolVar(&plaintext, "plaintext", false, "connect without TLS")
	flags.StringVar(&ca, "tls-ca", "", "PEM file with the authorities of the server's certificate; by default those of the system")
	flags.StringVar(&cert, "tls-cert", "", "PEM file with the certificate of the client")
	flags.StringVar(&key, "tls-key", "", "PEM file with its key")
	flags.StringVar(&serverName, "tls-server-name", "", "name in the server's certificate; by default the host of ADDRESS")
	return c
}
