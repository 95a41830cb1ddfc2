package inspect

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// WriteTable prints a line for each client.
func WriteTable(to io.Writer, clients []status.Client, now time.Time) error {
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
		fmt.Fprintf(table, "\t%s", strings.ToUpper(name))
	}
	fmt.Fprintln(table, "\tACKS\tNACKS\tLAG\tBYTES")
	for i := range clients {
		c := &clients[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s", c.ID, c.Role, protocolOf(c), span(now.Sub(c.Connected)))
		for _, name := range types {
			fmt.Fprintf(table, "\t%s", countsOf(c, name))
		}
		fmt.Fprintf(table, "\t%d\t%d\t%s\t%d\n", c.Acks, c.Nacks, lagOf(c), c.Bytes)
	}
	return table.Flush()
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
		return fmt.Sprintf("%d/%d/%d", t.Synced, t.Stale+t.NotSent, t.Rejected)
	}
}

func lagOf(c *status.Client) string {
	lag := span(time.Duration(c.LagMillis) * time.Millisecond)
	switch {
	case c.Unknown:
		return lag + " (does not read)"
	case c.Silent:
		return lag + " (silent)"
	default:
		return lag
	}
}

// WriteClients prints the resources of a client, stream by stream.
func WriteClients(to io.Writer, clients []status.Client) error {
	for n := range clients {
		c := &clients[n]
		if n > 0 {
			fmt.Fprintln(to)
		}
		fmt.Fprintf(to, "%s: %s, %s, at state %d of %d, lag %s, %d acks, %d nacks, %d bytes\n",
			c.ID, c.Role, protocolOf(c), c.Sequence, c.Newest, lagOf(c), c.Acks, c.Nacks, c.Bytes)
		if err := writeResources(to, c.Resources); err != nil {
			return err
		}
	}
	return nil
}

func writeResources(to io.Writer, resources []status.Resource) error {
	sortByType(resources)
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TYPE\tNAME\tVERSION\tSTATE")
	for _, r := range resources {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", strings.ToUpper(resource.TypeName(r.TypeURL)), r.Name, cmp.Or(r.Version, "-"), r.State)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range resources {
		if r.Rejection != nil {
			text := strings.TrimSpace(r.Rejection.Text)
			if r.TypeURL == resource.ListenerType && resource.SaysUnbound(text) {
				text += "; free that address: the listener is sent again every half minute or sooner"
			}
			fmt.Fprintf(to, "%s %s%s is rejected: %s\n", strings.ToUpper(resource.TypeName(r.TypeURL)), r.Name,
				ofVersion(r.Rejection.Version), text)
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
