package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/cmd/sluice/command"
	"sluice.dev/sluice/cmd/sluice/inspect"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/status"
)

func xdsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "xds",
		Short: "Show what each client of an xDS server has: status, dump, diff",
		Long: `Xds asks a running Sluice what its gateways, activators and gRPC clients have, over CSDS on the socket of
its xDS server, which is in its data directory. In a cluster they ask the leading controller, through the API server:
with --kubeconfig or --context, and where there is no data directory. That needs a right to read the Secret
sluice-xds-status of the installation, and to forward ports to its pods. Any other xDS server, named by --xds, that answers by resource
(generic_xds_configs) can be asked too, but without diff and the figures. Private keys are never shown.`,
	}
	c.AddCommand(xdsStatusCommand(), xdsDumpCommand(), xdsDiffCommand())
	return c
}

// inspectFlags are what the commands of `sluice xds` share.
type inspectFlags struct {
	server       transport.DialOptions
	installation installationFlags
	output       string
	outputs      []string // the values that output can have
}

// add adds the flags. namespace is the name of the flag for the namespace of an installation.
func (f *inspectFlags) add(c *cobra.Command, namespace, text string, outputs ...string) {
	f.outputs = outputs
	f.server.AddFlags(c.Flags())
	f.installation.add(c, namespace)
	c.Flags().StringVarP(&f.output, "output", "o", outputs[0], "what to print: "+text)
}

// dial makes the connection to the server, after a look at the flags. The function that it returns closes it.
func (f *inspectFlags) dial(ctx context.Context) (*inspect.Server, func(), error) {
	if !slices.Contains(f.outputs, f.output) {
		return nil, nil, fmt.Errorf("--output %q is neither %s", f.output, strings.Join(f.outputs, " nor "))
	}
	end, err := f.installation.reach(ctx, &f.server)
	if err != nil {
		return nil, nil, err
	}
	server, err := inspect.Dial(&f.server)
	if err != nil {
		end()
		return nil, nil, err
	}
	return server, func() { server.Close(); end() }, nil
}

func (f *inspectFlags) json() bool { return f.output == "json" }

func xdsStatusCommand() *cobra.Command {
	var f inspectFlags
	c := &cobra.Command{
		Use:   "status [CLIENT]",
		Short: "Print a line for each client, or the resources of one",
		Long: `Status prints a line for each client: its role, protocol and age, how many resources of each type it has
acknowledged, were sent or are due (stale), and are rejected, as SYNCED/STALE/REJECTED; what it acknowledged and
rejected in all, how long it has been behind (LAG), and what it was sent. A client with several streams has a
line for each. With a client's name, or the beginning of it, the resources of that client.`,
		Example: `  sluice xds status
  sluice xds status --context production
  sluice xds status gateway -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			server, done, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer done()
			q := status.Query{Counts: len(args) == 0}
			for _, name := range args {
				id, err := server.Find(c.Context(), name)
				if err != nil {
					return err
				}
				q.IDs = []string{id}
			}
			clients, err := server.Ask(c.Context(), q)
			switch {
			case err != nil:
				return err
			case f.json():
				return inspect.WriteJSON(c.OutOrStdout(), clients)
			case q.Counts:
				return inspect.WriteTable(c.OutOrStdout(), clients, time.Now())
			}
			return inspect.WriteClients(c.OutOrStdout(), clients)
		},
	}
	f.add(c, "namespace", "table or json", "table", "json")
	return c
}

func xdsDumpCommand() *cobra.Command {
	var f inspectFlags
	var typeName string
	c := &cobra.Command{
		Use:   "dump CLIENT [NAME]",
		Short: "Print the resources that a client has acknowledged, as YAML",
		Long: `Dump prints what a client has acknowledged, as YAML below comments that say in which version and state each
resource is; of a rejected one what the client has in its place. With -t only one type, with a name only the
resources of that name. Desired state of a role: sluice.dev/desired/gateway, and so on, as the client.`,
		Example: `  sluice xds dump gateway -t rds
  sluice xds dump gateway default/hello-00001
  sluice xds dump sluice.dev/desired/mesh -t lds`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			keep, err := inspect.Select(typeName, args[1:])
			if err != nil {
				return err
			}
			server, done, err := f.dial(c.Context())
			if err != nil {
				return err
			}
			defer done()
			id := args[0]
			if !strings.HasPrefix(id, csds.DesiredPrefix) {
				if id, err = server.Find(c.Context(), id); err != nil {
					return err
				}
			}
			resources, err := server.Dump(c.Context(), id, keep)
			switch {
			case err != nil:
				return err
			case f.json():
				return inspect.WriteDumpJSON(c.OutOrStdout(), resources)
			}
			return inspect.WriteDump(c.OutOrStdout(), resources)
		},
	}
	f.add(c, "namespace", "yaml or json", "yaml", "json")
	c.Flags().StringVarP(&typeName, "type", "t", "", "one type: cds, eds, lds, rds, sds or srds")
	return c
}

// Exit codes of `sluice xds diff`, like those of diff.
const (
	exitDiffers = 1
	exitTrouble = 2
)

func xdsDiffCommand() *cobra.Command {
	var f inspectFlags
	var wait time.Duration
	c := &cobra.Command{
		Use:   "diff [CLIENT]",
		Short: "Print how what a client has differs from what it should have",
		Long: `Diff compares what a client has acknowledged with what is offered to its role, and prints what is missing,
stale, rejected or extra, with both versions and a unified diff; of several streams of a client each is
compared. Without a client, all are. It ends with 0 when there is no difference, with 1 when there are some,
and with 2 when it cannot tell.

While something changes, a client is behind for a moment: --wait has diff look again until nothing differs.`,
		Example: `  sluice xds diff gateway
  sluice xds diff --wait 10s`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			same, err := f.diff(c, args, wait)
			if err != nil {
				return command.Exit{Code: exitTrouble, Err: err}
			}
			if !same {
				return command.Exit{Code: exitDiffers}
			}
			return nil
		},
	}
	f.add(c, "namespace", "table (text) or json", "table", "json")
	c.Flags().DurationVar(&wait, "wait", 0, "how long to look again until nothing differs")
	return c
}

// diff prints the differences and reports whether there are none.
func (f *inspectFlags) diff(c *cobra.Command, clients []string, wait time.Duration) (same bool, err error) {
	server, done, err := f.dial(c.Context())
	if err != nil {
		return false, err
	}
	defer done()
	all, err := server.Diff(c.Context(), clients, inspect.DiffOptions{Wait: wait, Contents: !f.json()})
	switch {
	case err != nil:
		return false, err
	case f.json():
		err = inspect.WriteJSON(c.OutOrStdout(), all)
	default:
		err = inspect.WriteDiff(c.OutOrStdout(), all)
	}
	return !inspect.Differ(all), err
}
