package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/facts"
	"sluice.dev/sluice/explain"
	"sluice.dev/sluice/explain/tree"
)

// explainFlags are the flags of `sluice explain`.
type explainFlags struct {
	inspectFlags
	facts     facts.Source
	namespace string
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

It asks the sluice up of --data-dir. With --kubeconfig or --context, and where there is no data directory, it asks the
cluster that kubectl would use, and there the leading controller.

The exit code is 0 when everything is served as asked, 1 when a link is broken, 2 for a wrong command line.`,
		Example: `  sluice explain hello
  sluice explain http://blue-hello.default.localhost:8080
  sluice explain -n shop hello --context production
  sluice explain hello -o json`,
		Args: func(c *cobra.Command, args []string) error { return usage(cobra.ExactArgs(1)(c, args)) },
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	f.add(c, "system-namespace", "text or json", "text", "json")
	f.facts.XDS = &f.server
	c.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "namespace of a SERVICE that names none")
	c.Flags().DurationVar(&f.facts.Timeout, "timeout", 10*time.Second, "how long each of both servers may take")
	return c
}

// usage marks a mistake in the command line.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return command.Exit{Code: 2, Err: err}
}

func (f *explainFlags) run(c *cobra.Command, asked string) error {
	if f.output != "text" && f.output != "json" {
		return usage(fmt.Errorf("--output %q is none of text and json", f.output))
	}
	query, err := explain.ParseQuery(asked, f.namespace)
	if err != nil {
		return usage(err)
	}
	f.facts.Kubeconfig, f.facts.Context = f.installation.kubeconfig, f.installation.context
	if f.installation.inCluster(&f.server) {
		f.facts.Reach = func(ctx context.Context) (func(), error) { return f.installation.reach(ctx, &f.server) }
	}
	in := f.facts.Gather(c.Context(), query)
	if err := c.Context().Err(); err != nil {
		return fmt.Errorf("explaining %s: %w", query, err)
	}
	answer := explain.Explain(in)
	if err := f.print(c.OutOrStdout(), answer); err != nil {
		return fmt.Errorf("explaining %s: %w", query, err)
	}
	if len(answer.Broken) > 0 {
		return command.Exit{Code: 1}
	}
	return nil
}

func (f *explainFlags) print(w io.Writer, answer *explain.Explanation) error {
	if f.json() {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(answer)
	}
	return tree.Write(w, answer, colourful(w))
}

// colourful reports whether w is a terminal whose user wants colours (no-color.org).
func colourful(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
