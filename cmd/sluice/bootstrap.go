package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/envoy"
)

func bootstrapCommand() *cobra.Command {
	var o envoy.Options
	var secure envoy.TLS
	c := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print the configuration for an Envoy that is to be a gateway",
		Long: `Bootstrap prints what an Envoy of your own starts with. Everything else comes to it from the xDS server
of Sluice, over one delta ADS stream.`,
		Example: `  sluice bootstrap > envoy.yaml
  envoy -c envoy.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if secure.CA != "" {
				o.TLS = &secure
			}
			text, err := envoy.Bootstrap(o)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringVar(&o.NodeID, "node-id", "gateway", "name of this Envoy to the xDS server; unique among gateways")
	c.Flags().StringVar(&o.Zone, "zone", "", "zone of this Envoy, as locality")
	c.Flags().StringVar(&o.XDS, "xds", "127.0.0.1:18000", "address of the xDS server")
	c.Flags().StringVar(&o.Admin, "admin", "127.0.0.1:9901", "address of Envoy's admin interface; keep it on loopback")
	c.Flags().StringVar(&secure.CA, "xds-ca", "", "PEM file that the xDS server's certificate must be signed by; without it the connection is plain")
	c.Flags().StringVar(&secure.ServerName, "xds-server-name", "", "name that the xDS server's certificate must have")
	c.Flags().StringVar(&secure.Certificate, "xds-cert", "", "PEM file with Envoy's own certificate")
	c.Flags().StringVar(&secure.Key, "xds-key", "", "PEM file with the key of --xds-cert")
	return c
}
