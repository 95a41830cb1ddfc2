package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/explain/tree"
	"sluice.dev/sluice/standalone/folder"
)

// explainFlags are the flags of `sluice explain`.
type explainFlags struct {
	inspectFlags
	namespace  string
	kubeconfig string
	timeout    time.Duration
}

func explainCommand() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain SERVICE|HOST",
		Short: "Tell what becomes of the requests to a service or host, and why",
		Long: `Explain follows requests through everything that decides about them: the generation that the control plane
has seen, the revisions and their shares, hosts, virtual hosts, clusters, endpoints (replicas, or the
activator and why), and what each connected client has acknowledged. Its first line is the verdict, with
the first broken link and what to do about it.

SERVICE is NAME or NAMESPACE/NAME of a Service, or of a Route or Configuration of its own. HOST is a host
of one, also of a tag or within the cluster, with or without a port; a URL is taken as well.

The exit code is 0 when everything is served as asked, 1 when a link is broken, 2 for a wrong command line.`,
		Example: `  sluice explain hello
  sluice explain http://blue-hello.default.localhost:8080
  sluice explain hello -o json`,
		Args: func(c *cobra.Command, args []string) error { return usage(cobra.ExactArgs(1)(c, args)) },
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	f.add(c, "text", "text or json")
	c.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "namespace of a SERVICE that names none")
	c.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "how to reach the Kubernetes API (default the one in --data-dir where there is one, else what KUBECONFIG names)")
	c.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "how long each of both servers may take")
	return c
}

// usage marks a mistake in the command line.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return exit{2, err}
}

func (f *explainFlags) run(c *cobra.Command, asked string) error {
	if f.output != "text" && f.output != "json" {
		return usage(fmt.Errorf("--output %q is none of text and json", f.output))
	}
	query, err := explain.ParseQuery(asked, f.namespace)
	if err != nil {
		return usage(err)
	}
	in := explain.Input{Query: query}
	in.Objects, in.Unreadable = f.objects(c.Context(), query)
	if in.Unreadable == nil {
		in.Views, in.Unknown = f.views(c.Context())
	}
	if err := c.Context().Err(); err != nil {
		return fmt.Errorf("explaining %s: %w", query, err)
	}
	answer := explain.Explain(in)
	if err := f.print(c.OutOrStdout(), answer); err != nil {
		return fmt.Errorf("explaining %s: %w", query, err)
	}
	if len(answer.Broken) > 0 {
		return exit{code: 1}
	}
	return nil
}

func (f *explainFlags) print(w io.Writer, answer *explain.Explanation) error {
	if f.output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(answer)
	}
	return tree.Write(w, answer, colourful(w))
}

// colourful says whether somebody looks at w who may like colours (no-color.org).
func colourful(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// objects asks the Kubernetes API.
func (f *explainFlags) objects(ctx context.Context, query explain.Query) (explain.Objects, *explain.Failure) {
	config, from, err := f.clientConfig()
	if err != nil {
		return explain.Objects{}, &explain.Failure{
			Who: "kubeconfig " + from, Message: fmt.Sprintf("No kubeconfig can be used (tried %s): %v", from, err),
			Remedy: "Start sluice up, name its data directory with --data-dir, or name a file with --kubeconfig",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	failure := &explain.Failure{Who: "Kubernetes API " + config.Host}
	scheme := runtime.NewScheme()
	if err := servingv1.AddToScheme(scheme); err != nil {
		failure.Message = err.Error()
		return explain.Objects{}, failure
	}
	var objects explain.Objects
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err == nil {
		objects, err = gatherObjects(ctx, reader, query)
	}
	if err != nil {
		failure.Message = fmt.Sprintf("The Kubernetes API %s (of kubeconfig %s) cannot be read: %s", config.Host, from, inWords(err))
		failure.Remedy = "Start sluice up, name its data directory with --data-dir, or name the kubeconfig of another with --kubeconfig"
		return explain.Objects{}, failure
	}
	return objects, nil
}

// clientConfig reads the kubeconfig, and says which one.
func (f *explainFlags) clientConfig() (config *rest.Config, from string, err error) {
	own := filepath.Join(f.server.dataDir, "kubeconfig")    // what sluice up writes
	rules := clientcmd.NewDefaultClientConfigLoadingRules() // KUBECONFIG, else kubectl's own file
	switch _, missing := os.Stat(own); {
	case f.kubeconfig != "":
		from, rules.ExplicitPath = f.kubeconfig, f.kubeconfig
	case missing == nil:
		if err := folder.Check(f.server.dataDir); err != nil { // a kubeconfig may name programs to run
			return nil, own, err
		}
		from, rules.ExplicitPath = own, own
	case os.Getenv("KUBECONFIG") != "":
		from = "KUBECONFIG=" + os.Getenv("KUBECONFIG")
	default:
		return nil, own + " and KUBECONFIG", errors.New("the file is not there, and the variable is not set")
	}
	config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, from, err
	}
	config.QPS = -1 // a few requests, and then the process ends
	return config, from, nil
}
