package main

import (
	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/install"
)

func installCommand() *cobra.Command {
	o := install.Defaults()
	c := &cobra.Command{
		Use:   "install",
		Short: "Print what a Kubernetes cluster needs to run Sluice",
		Long: `Install prints Kubernetes objects as YAML, for kubectl apply. The same flags print the same bytes, and applying
them again changes nothing. With other flags, or by another version of this command, it is an update, which keeps
serving. The cluster's nodes must be able to get the images. sluice check says whether a cluster is ready for it.`,
		Example: `  sluice install --domain apps.example.com | kubectl apply -f -
  sluice install --gateway builtin --service-type NodePort | kubectl apply --server-side -f -`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return err
			}
			objects, err := install.Objects(o)
			if err != nil {
				return err
			}
			text, err := install.YAML(objects)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	o.AddFlags(c.Flags())
	return c
}
