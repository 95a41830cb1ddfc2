package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

func translateCommand() *cobra.Command {
	var files []string
	var domain string
	gateway := model.Gateway{}
	c := &cobra.Command{
		Use:   "translate -f FILE|DIR",
		Short: "Print the Envoy resources that manifests become, without any server",
		Long: `Translate reads manifests and prints the Envoy resources that Sluice would serve for them, as YAML.
Nothing runs: it assumes that every revision is ready, and gives it no endpoints. Where one object is in
several documents, the last one counts. Problems go to standard error; the rest is printed all the same.`,
		Example: `  sluice translate -f examples/canary`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("nothing to translate: name a file or folder with -f")
			}
			if err := loops.CheckRoutes(gateway.Routes); err != nil {
				return err
			}
			documents, err := manifest.Read(files)
			if err != nil {
				return err
			}
			var set manifest.Set
			for _, d := range documents {
				if d.Err == nil {
					d.Err = set.Add(d.Object)
				}
				if d.Err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "%s: %v\n", d.Source, d.Err)
				}
			}
			world, problems := set.World(domain)
			world.Gateway = gateway
			out := translator.Translate(world, nil)
			for _, p := range append(problems, out.Problems...) {
				fmt.Fprintln(c.ErrOrStderr(), p.Error())
			}
			text, err := out.YAML()
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "manifest file or folder; may be repeated")
	c.Flags().StringVar(&domain, "domain", "localhost", "domain of the services' URLs: NAME.NAMESPACE.DOMAIN")
	c.Flags().StringVar(&gateway.HTTP, "http", "127.0.0.1:8080", "address of the gateway")
	c.Flags().StringVar(&gateway.Local, "local", "127.0.0.1:8081", "address of the gateway for cluster-local hosts; empty for none")
	c.Flags().StringVar((*string)(&gateway.Routes), "routes", string(model.Scoped), loops.RoutesUsage)
	return c
}
