package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/crds"
	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
	"sluice.dev/sluice/translator"
)

func translateCommand() *cobra.Command {
	var files []string
	var domain, routes string
	gateway := model.Gateway{}
	c := &cobra.Command{
		Use:   "translate -f FILE|DIR",
		Short: "Print the Envoy resources that manifests become, without any server",
		Long: `Translate reads manifests and prints the Envoy resources that Sluice would serve for them, as YAML.
Nothing runs: every revision is taken to be ready, and has no endpoints. Where one object is in
several documents, the last one counts. Problems go to standard error; the rest is printed all the same.`,
		Example: `  sluice translate -f examples/canary`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return errors.New("nothing to translate: name a file or folder with -f")
			}
			var err error
			if gateway.Routes, err = routeForm(routes); err != nil {
				return err
			}
			documents, err := manifest.Read(files)
			if err != nil {
				return err
			}
			p := preview{objects: map[model.Ref]int{}}
			p.Options.Domain = domain
			for _, d := range documents {
				if d.Err == nil {
					d.Err = p.add(d.Object)
				}
				if d.Err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "%s: %v\n", d.Source, d.Err)
				}
			}
			world, problems := p.world()
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
	c.Flags().StringVar(&routes, "routes", string(model.Scoped), routesUsage)
	return c
}

// preview collects the objects of manifests.
type preview struct {
	rollout.Preview
	all     []crds.Object
	objects map[model.Ref]int // index into all
}

// add takes one object, with the defaults and the rules of the API server.
func (p *preview) add(u *unstructured.Unstructured) error {
	o := crds.New(u.GetKind())
	if o == nil || u.GetAPIVersion() != servingv1.Group+"/v1" {
		return fmt.Errorf("%s of %s is not translated: Service, Configuration, Revision and Route of serving.knative.dev/v1 are", u.GetKind(), u.GetAPIVersion())
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, o, true); err != nil {
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if o.GetNamespace() == "" {
		o.SetNamespace("default")
	}
	ref := model.Ref{Kind: u.GetKind(), Key: model.Key{Namespace: o.GetNamespace(), Name: o.GetName()}}
	crds.Default(o, nil, "")
	if problems := crds.Validate(o); len(problems) > 0 {
		return fmt.Errorf("%s: %w", ref, problems.ToAggregate())
	}
	// What the API server would give it; names are as good as UIDs here.
	o.SetUID(types.UID(ref.String()))
	o.SetGeneration(1)
	at, again := p.objects[ref]
	if !again {
		p.objects[ref] = len(p.all)
		p.all = append(p.all, o)
		return nil
	}
	o.SetGeneration(p.all[at].GetGeneration() + 1)
	p.all[at] = o
	return nil
}

// world plans all objects, with those that Services own.
func (p *preview) world() (*model.World, []model.Problem) {
	for _, o := range p.all {
		switch o := o.(type) {
		case *servingv1.Service:
			c := convert.ConfigurationOf(o)
			c.UID, c.Generation = types.UID("Configuration "+o.Name), o.Generation
			p.Configurations = append(p.Configurations, convert.Configuration(c))
			p.Routes = append(p.Routes, convert.Route(convert.RouteOf(o)))
		case *servingv1.Configuration:
			p.Configurations = append(p.Configurations, convert.Configuration(o))
		case *servingv1.Route:
			p.Routes = append(p.Routes, convert.Route(o))
		case *servingv1.Revision:
			p.Revisions = append(p.Revisions, convert.Revision(o))
		}
	}
	return p.World()
}
