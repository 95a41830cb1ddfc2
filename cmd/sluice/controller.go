package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/cmd/sluice/cluster"
	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/kube"
)

func controllerCommand() *cobra.Command {
	var log command.LogFlags
	var server clusterFlags
	o := cluster.Defaults()
	c := &cobra.Command{
		Use:   "controller",
		Short: "Run the control plane in a cluster",
		Long: `Controller is the control plane in a Kubernetes cluster: it reconciles Services, scales revisions as
Deployments, and serves xDS to gateways and activators. Of several replicas one leads, and the others take over when
it ends. sluice install prints what a cluster needs to run it.`,
		Example: `  sluice controller --queue-proxy-image registry.example.com/sluice/queue-proxy:v1`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Logger, err = log.Logger(c.ErrOrStderr()); err != nil {
				return err
			}
			klog.SetLogger(kube.Bridge(o.Logger.Named("kubernetes")))
			if o.Config, err = server.config(); err != nil {
				return fmt.Errorf("finding the API server: %w", err)
			}
			controller, err := cluster.New(o)
			if err != nil {
				return err
			}
			return controller.Run(c.Context())
		},
	}
	log.Add(c)
	server.add(c)
	o.AddFlags(c.Flags())
	return c
}
