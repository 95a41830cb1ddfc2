package facts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/cmd/sluice/inspect"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/cmd/sluice/transport"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/standalone/folder"
)

// Source is the two servers that know the facts.
type Source struct {
	// Kubeconfig is the file that leads to the Kubernetes API. Empty means that of XDS.DataDir if there is one, else KUBECONFIG.
	Kubeconfig string
	// Context is one of the kubeconfig; empty for its current one.
	Context string
	// Reach has XDS lead to an installation in a cluster, and returns what ends that; nil: XDS leads to the server as it is.
	Reach   func(context.Context) (func(), error)
	XDS     *transport.DialOptions // the xDS server
	Timeout time.Duration          // how long each server may take
}

// Gather asks both servers. What cannot be read is a part of the input, with what to do about it.
func (s *Source) Gather(ctx context.Context, query explain.Query) explain.Input {
	in := explain.Input{Query: query}
	in.Objects, in.Unreadable = s.objects(ctx, query)
	if in.Unreadable == nil {
		in.Views, in.Unknown = s.views(ctx)
	}
	return in
}

func (s *Source) objects(ctx context.Context, query explain.Query) (explain.Objects, *explain.Failure) {
	config, from, err := s.clientConfig()
	if err != nil {
		return explain.Objects{}, &explain.Failure{
			Who: "kubeconfig " + from, Message: fmt.Sprintf("No kubeconfig can be used (tried %s): %v", from, err),
			Remedy: "Start sluice up, name its data directory with --data-dir, or name a file with --kubeconfig",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	failure := &explain.Failure{Who: "Kubernetes API " + config.Host}
	scheme := runtime.NewScheme()
	if err := errors.Join(servingv1.AddToScheme(scheme), servingv1beta1.AddToScheme(scheme)); err != nil {
		failure.Message = err.Error()
		return explain.Objects{}, failure
	}
	var objects explain.Objects
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err == nil {
		objects, err = Objects(ctx, reader, query)
	}
	if err != nil {
		failure.Message = fmt.Sprintf("The Kubernetes API %s (of kubeconfig %s) cannot be read: %s",
			config.Host, from, manifest.InWords(err))
		failure.Remedy = "Start sluice up, name its data directory with --data-dir, or name the kubeconfig of another with --kubeconfig"
		return explain.Objects{}, failure
	}
	return objects, nil
}

// clientConfig reads the kubeconfig, and says which one.
func (s *Source) clientConfig() (config *rest.Config, from string, err error) {
	own := filepath.Join(s.XDS.DataDir, "kubeconfig")       // sluice up writes it
	rules := clientcmd.NewDefaultClientConfigLoadingRules() // KUBECONFIG, else kubectl's own file
	switch _, missing := os.Stat(own); {
	case s.Reach != nil: // as kubectl finds it
		from, rules.ExplicitPath = cmp.Or(s.Kubeconfig, "kubectl's kubeconfig"), s.Kubeconfig
	case s.Kubeconfig != "":
		from, rules.ExplicitPath = s.Kubeconfig, s.Kubeconfig
	case missing == nil:
		if err := folder.Check(s.XDS.DataDir); err != nil { // a kubeconfig may name programs to run
			return nil, own, err
		}
		from, rules.ExplicitPath = own, own
	case os.Getenv("KUBECONFIG") != "":
		from = "KUBECONFIG=" + os.Getenv("KUBECONFIG")
	default:
		return nil, own + " and KUBECONFIG", errors.New("the file is not there, and the variable is not set")
	}
	config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: s.Context}).ClientConfig()
	if err != nil {
		return nil, from, err
	}
	config.QPS = -1 // a few requests, and then the process ends
	return config, from, nil
}

func (s *Source) views(ctx context.Context) (explain.Views, *explain.Failure) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	views, err := s.askViews(ctx)
	if err == nil {
		return views, nil
	}
	who, remedy := "xDS server "+s.XDS.Server(), s.XDS.Remedy()
	failure := &explain.Failure{
		Who: who, Message: fmt.Sprintf("The %s cannot be asked: %v", who, inspect.InWords(err)),
		Remedy: strings.ToUpper(remedy[:1]) + remedy[1:],
	}
	if s.Reach != nil && s.XDS.Way == nil { // there is no way to it
		failure.Who, failure.Message = "xDS server of the cluster", fmt.Sprintf("The xDS server of the cluster cannot be asked: %v", err)
		failure.Remedy = "See sluice check, and what your account may read in the namespace of Sluice"
	}
	if what := inspect.Incomplete(err); what != "" {
		failure.Message = "The control plane has just started: " + what
		failure.Remedy = "Ask again in a moment; if it stays so, see what the control plane logs of those objects"
	}
	return explain.Views{}, failure
}

func (s *Source) askViews(ctx context.Context) (explain.Views, error) {
	if s.Reach != nil {
		end, err := s.Reach(ctx)
		if err != nil {
			return explain.Views{}, err
		}
		defer end()
	}
	if err := errors.Join(s.XDS.Resolve(), s.XDS.Reachable()); err != nil { // without the remedy, which is the failure's
		return explain.Views{}, err
	}
	server, err := inspect.Dial(s.XDS)
	if err != nil {
		return explain.Views{}, err
	}
	defer server.Close()
	return Views(ctx, server.Conn())
}
