package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/up"
	"sluice.dev/sluice/kube"
)

func upCommand() *cobra.Command {
	var log command.LogFlags
	o := up.Defaults()
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: API server, gateway, services as processes",
		Long: `Up runs all of Sluice in one process on this machine: a real Kubernetes API server for
Knative's kinds, the control plane, the gateway, and the services as processes. What you apply
is kept in the data directory and is there again at the next start. A service runs as many
replicas as its requests need, and none when there are none; the first request wakes it.

It prints "sluice is ready" when the API and the gateway serve, and the URL of each service
when that is ready. Ctrl-C or SIGTERM lets requests finish and stops everything.`,
		Example: `  sluice up -f examples/canary
  kubectl --kubeconfig .sluice/kubeconfig get ksvc
  curl http://hello.default.localhost:8080`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Logger, err = log.Logger(c.ErrOrStderr()); err != nil {
				return err
			}
			klog.SetLogger(kube.Bridge(o.Logger.Named("kubernetes")))
			if o.Program, err = os.Executable(); err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			o.Out = c.OutOrStdout()
			u, err := up.New(c.Context(), o)
			if err != nil {
				return err
			}
			return u.Run(c.Context())
		},
	}
	log.Add(c)
	o.AddFlags(c.Flags())
	return c
}
