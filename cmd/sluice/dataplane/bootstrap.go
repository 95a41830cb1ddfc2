package dataplane

import (
	"errors"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/envoy"
)

func bootstrapCommand() *cobra.Command {
	var o envoy.Options
	var server transport.DialOptions
	var secrets string
	var grpc bool
	c := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print the configuration for an Envoy that is to be a gateway, or for a gRPC client",
		Long: `Bootstrap prints what an Envoy of your own starts with. It gets everything else from the xDS server of
Sluice, over one delta ADS stream. Of --xds-ca, --xds-cert and --xds-key it has the names. Envoy reads the
files when it starts, and with --xds-reload also when they change.

With --grpc it prints what a proxyless gRPC client starts with, the content of the file that GRPC_XDS_BOOTSTRAP
names. The client reads the files of its certificate again by itself.`,
		Example: `  sluice bootstrap > envoy.yaml
  envoy -c envoy.yaml --ignore-unknown-dynamic-fields`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := server.Resolve(); err != nil {
				return err
			}
			if grpc {
				text, err := grpcBootstrap(server, o.NodeID, o.Zone)
				if err == nil {
					_, err = c.OutOrStdout().Write(text)
				}
				return err
			}
			o.XDS = server.Address
			if server.CA != "" {
				o.TLS = &envoy.TLS{CA: server.CA, ServerName: server.ServerName, Certificate: server.Cert, Key: server.Key, Dir: secrets}
			}
			if secrets != "" && o.TLS == nil {
				return errors.New("--xds-reload is for certificates: give --xds-ca too")
			}
			if secrets != "" {
				if err := o.TLS.WriteSecrets(); err != nil {
					return err
				}
			}
			text, err := envoy.Bootstrap(o)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringVar(&o.NodeID, "node-id", "gateway", "name of this client to the xDS server; unique among gateways")
	c.Flags().StringVar(&o.Zone, "zone", "", "zone of this client, as locality")
	server.AddFlags(c.Flags())
	c.Flags().BoolVar(&grpc, "grpc", false, "print the bootstrap of a proxyless gRPC client")
	c.Flags().StringVar(&secrets, "xds-reload", "",
		"folder for two files by which Envoy reads --xds-ca, --xds-cert and --xds-key again when something is renamed in their folder")
	c.Flags().Int64Var(&o.Connections, "max-connections", 100_000, "how many connections of clients Envoy takes at a time")
	c.Flags().Uint64Var(&o.Memory, "max-memory", 2<<30, "how many bytes of memory Envoy may allocate; near that it refuses requests")
	c.Flags().StringVar(&o.Admin, "admin", "unix:envoy-admin.sock",
		"address of Envoy's admin interface: unix:PATH for a socket that only its user reaches, or an address on loopback, by which any "+
			"process of the machine can stop Envoy")
	return c
}
