package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

func xdsStatusCommand() *cobra.Command {
	var f inspectFlags
	c := &cobra.Command{
		Use:   "status [CLIENT]",
		Short: "Print a line for each client, or the resources of one",
		Long: `Status prints a line for each client: its role, protocol and age, how many resources of each type it has
acknowledged, were sent or are due (stale), and are refused, as SYNCED/STALE/REFUSED; what it acknowledged and
refused in all, how long it has been behind (LAG), and what it was sent. A client with several streams has a
line for each. With a client's name, or the beginning of it, the resources of that client.`,
		Example: `  sluice xds status
  sluice xds status gateway -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			show, err := f.statusFormat(len(args) > 0)
			if err != nil {
				return err
			}
			i, err := f.dial()
			if err != nil {
				return err
			}
			defer i.close()
			q := status.Query{Counts: len(args) == 0}
			if len(args) > 0 {
				id, err := i.find(c.Context(), args[0])
				if err != nil {
					return err
				}
				q.IDs = []string{id}
			}
			return f.status(c.Context(), c.OutOrStdout(), i, statusOf{q, show})
		},
	}
	f.add(c, "table", "table or json")
	return c
}

// statusOf is what to ask and how to show it.
type statusOf struct {
	query status.Query
	show  func(io.Writer, []status.Client) error
}

func (f *inspectFlags) statusFormat(one bool) (func(io.Writer, []status.Client) error, error) {
	switch {
	case f.output == "json":
		return func(to io.Writer, clients []status.Client) error {
			if clients == nil {
				clients = []status.Client{}
			}
			return printJSON(to, clients)
		}, nil
	case f.output != "table":
		return nil, fmt.Errorf("--output %q is neither table nor json", f.output)
	case one:
		return printClients, nil
	default:
		return func(to io.Writer, clients []status.Client) error { return printTable(to, clients, time.Now()) }, nil
	}
}

func (f *inspectFlags) status(ctx context.Context, to io.Writer, i *inspector, of statusOf) error {
	clients, err := i.ask(ctx, of.query)
	if err != nil {
		return err
	}
	return of.show(to, clients)
}

// printTable prints a line for each client.
func printTable(to io.Writer, clients []status.Client, now time.Time) error {
	if len(clients) == 0 {
		_, err := fmt.Fprintln(to, "no client is connected")
		return err
	}
	var types []string
	for _, c := range clients {
		for name := range c.Types {
			if resource.TypeURL(name) != "" && !slices.Contains(types, name) {
				types = append(types, name)
			}
		}
	}
	slices.SortFunc(types, byType)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "ID\tROLE\tPROTOCOL\tCONNECTED")
	for _, name := range types {
		fmt.Fprintf(table, "\t%s", upper(name))
	}
	fmt.Fprintln(table, "\tACKS\tNACKS\tLAG\tBYTES")
	for i := range clients {
		c := &clients[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s", c.ID, c.Role, protocolOf(c), ago(now.Sub(c.Connected)))
		for _, name := range types {
			fmt.Fprintf(table, "\t%s", countsOf(c, name))
		}
		fmt.Fprintf(table, "\t%d\t%d\t%s\t%d\n", c.Acks, c.Nacks, lagOf(c), c.Bytes)
	}
	return table.Flush()
}

func upper(name string) string {
	b := []byte(name)
	for i := range b {
		if 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

// protocolOf is a stream's protocol, and its type where it is of one alone.
func protocolOf(c *status.Client) string {
	if c.Service == "" || c.Service == "ads" {
		return c.Protocol
	}
	return c.Protocol + " " + c.Service
}

func countsOf(c *status.Client, name string) string {
	t, ok := c.Types[name]
	switch {
	case c.Unknown:
		return "?"
	case !ok:
		return "-"
	default:
		return fmt.Sprintf("%d/%d/%d", t.Synced, t.Stale+t.NotSent, t.Refused)
	}
}

func lagOf(c *status.Client) string {
	lag := ago(time.Duration(c.LagMillis) * time.Millisecond)
	switch {
	case c.Unknown:
		return lag + " (does not read)"
	case c.Silent:
		return lag + " (silent)"
	default:
		return lag
	}
}

// printClients prints the resources of a client, stream by stream.
func printClients(to io.Writer, clients []status.Client) error {
	for n := range clients {
		c := &clients[n]
		if n > 0 {
			fmt.Fprintln(to)
		}
		fmt.Fprintf(to, "%s: %s, %s, at state %d of %d, lag %s, %d acks, %d nacks, %d bytes\n",
			c.ID, c.Role, protocolOf(c), c.Sequence, c.Newest, lagOf(c), c.Acks, c.Nacks, c.Bytes)
		if err := printResources(to, c.Resources); err != nil {
			return err
		}
	}
	return nil
}

func printResources(to io.Writer, resources []status.Resource) error {
	slices.SortStableFunc(resources, func(a, b status.Resource) int {
		return byType(resource.TypeName(a.TypeURL), resource.TypeName(b.TypeURL))
	})
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TYPE\tNAME\tVERSION\tSTATE")
	for _, r := range resources {
		version := r.Version
		if version == "" {
			version = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", upper(resource.TypeName(r.TypeURL)), r.Name, version, r.State)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range resources {
		if r.Refusal != nil {
			text := strings.TrimSpace(r.Refusal.Text)
			if r.TypeURL == resource.ListenerType && resource.SaysUnbound(text) {
				text += "; free that address: the listener is sent again every half minute or sooner"
			}
			fmt.Fprintf(to, "%s %s%s is refused: %s\n", upper(resource.TypeName(r.TypeURL)), r.Name, ofVersion(r.Refusal.Version), text)
		}
	}
	return nil
}

func ofVersion(version string) string {
	if version == "" {
		return ""
	}
	return " in version " + version
}
