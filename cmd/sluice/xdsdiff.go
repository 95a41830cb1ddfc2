package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// exit is how a command ends that has said all there is to say, or that ends otherwise than with 1.
type exit struct {
	code int
	err  error // nil: nothing is to be printed
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

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
		Short: "Print what a client has otherwise than it should",
		Long: `Diff compares what a client has acknowledged with what is offered to its role, and prints what is missing,
stale, refused or extra, with both versions and a unified diff; of several streams of a client each is
compared. Without a client, all are. It ends with 0 when there is no difference, with 1 when there are some,
and with 2 when it cannot tell.

While something changes, a client is behind for a moment: --wait has diff look again until nothing differs.`,
		Example: `  sluice xds diff gateway
  sluice xds diff --wait 10s`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			same, err := f.diff(c.Context(), c.OutOrStdout(), args, wait)
			if err != nil {
				return exit{exitTrouble, err}
			}
			if !same {
				return exit{code: exitDiffers}
			}
			return nil
		},
	}
	f.add(c, "table", "table (text) or json")
	c.Flags().DurationVar(&wait, "wait", 0, "how long to look again until nothing differs")
	return c
}

// comparison is one stream of a client against the desired state.
type comparison struct {
	Client      string              `json:"client"`
	Scope       string              `json:"scope"`
	Role        string              `json:"role"`
	Resources   int                 `json:"resources"` // that were compared
	Differences []status.Difference `json:"differences"`
}

const lookAgain = 100 * time.Millisecond

// diff reports whether nothing differs.
func (f *inspectFlags) diff(ctx context.Context, to io.Writer, args []string, wait time.Duration) (same bool, err error) {
	if f.output != "table" && f.output != "json" {
		return false, fmt.Errorf("--output %q is neither table nor json", f.output)
	}
	i, err := f.dial()
	if err != nil {
		return false, err
	}
	defer i.close()
	for deadline := time.Now().Add(wait); ; {
		all, err := i.compareAll(ctx, args, f.output == "table")
		same = err == nil && !differing(all)
		if same || !time.Now().Before(deadline) {
			if err != nil {
				return false, err
			}
			return same, printComparisons(to, all, f.output)
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// compareAll gets contents only where they are of use: they are much.
func (i *inspector) compareAll(ctx context.Context, args []string, contents bool) ([]comparison, error) {
	all, err := i.compare(ctx, args, status.Query{})
	if err != nil || !contents || !differing(all) {
		return all, err
	}
	return i.compare(ctx, args, status.Query{Contents: true})
}

func differing(all []comparison) bool {
	return slices.ContainsFunc(all, func(c comparison) bool { return len(c.Differences) > 0 })
}

// compare asks for the clients that are meant and for what each of their roles is offered.
func (i *inspector) compare(ctx context.Context, args []string, q status.Query) ([]comparison, error) {
	for _, word := range args {
		id, err := i.find(ctx, word)
		if err != nil {
			return nil, err
		}
		q.IDs = []string{id}
	}
	for role := range slices.Values([]uint8{contract.RoleGateway, contract.RoleActivator, contract.RoleMesh}) {
		q.Desired = append(q.Desired, contract.RoleName(role))
	}
	if len(args) == 0 {
		if err := i.everyone(ctx, &q); err != nil {
			return nil, err
		}
	}
	answer, err := i.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	desired := map[string]*status.Client{}
	var all []comparison
	for n := range answer {
		c := &answer[n]
		switch {
		case c.IsDesired():
			desired[c.Role] = c
		case c.Unknown:
			return nil, fmt.Errorf("client %q does not read what it is sent, for %s now: what it has is not known", c.ID, lagOf(c))
		case desired[c.Role] == nil:
			return nil, fmt.Errorf("the server at %s does not tell what is desired for role %q: diff works with a Sluice", i.address, c.Role)
		default:
			all = append(all, comparison{c.ID, c.Scope, c.Role, len(c.Resources), status.Diff(c, desired[c.Role])})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no client is connected")
	}
	return all, nil
}

// everyone names all clients: the desired states are told only to who names what he wants.
func (i *inspector) everyone(ctx context.Context, q *status.Query) error {
	clients, err := i.ask(ctx, status.Query{Counts: true})
	if err != nil {
		return err
	}
	for _, c := range clients {
		q.IDs = append(q.IDs, c.ID)
	}
	slices.Sort(q.IDs)
	q.IDs = slices.Compact(q.IDs)
	return nil
}

func printComparisons(to io.Writer, all []comparison, output string) error {
	if output == "json" {
		return printJSON(to, all)
	}
	for _, c := range all {
		if len(c.Differences) == 0 {
			fmt.Fprintf(to, "%s has all %d resources that it asked for as they are offered to role %s: no difference\n", c.Client, c.Resources, c.Role)
			continue
		}
		fmt.Fprintf(to, "%s differs in %d of %d resources from what is offered to role %s\n", c.Client, len(c.Differences), c.Resources, c.Role)
		for i := range c.Differences {
			if err := printDifference(to, &c.Differences[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxDiffLines bounds the unified diff of one resource.
const maxDiffLines = 60

func printDifference(to io.Writer, d *status.Difference) error {
	fmt.Fprintf(to, "\n%s %s %s: has %s, %s %s\n", d.Kind, upper(resource.TypeName(d.TypeURL)), d.Name, orNone(d.Has), wantedBy(d), orNone(d.Wants))
	if d.Refusal != nil {
		fmt.Fprintf(to, "  the client says: %s\n", d.Refusal.Text)
	}
	if d.Kind != status.Outdated && d.Kind != status.Denied {
		return nil
	}
	text, err := unified(d.Before, d.After)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > maxDiffLines {
		lines = append(lines[:maxDiffLines], fmt.Sprintf("… %d more lines; -o json and dump have the versions and the whole", len(lines)-maxDiffLines))
	}
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(to, "  %s\n", line)
		}
	}
	return nil
}

func wantedBy(d *status.Difference) string {
	if d.Kind == status.Denied {
		return "refuses"
	}
	return "should have"
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

// linesOf keeps the line ends, as the diff wants them.
func linesOf(text string) []string {
	return slices.Collect(strings.Lines(text))
}

// unified is the unified diff of two contents.
func unified(before, after *anypb.Any) (string, error) {
	a, err := contentYAML(before)
	if err != nil {
		return "", err
	}
	b, err := contentYAML(after)
	if err != nil {
		return "", err
	}
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: linesOf(a), B: linesOf(b), FromFile: "has", ToFile: "offered", Context: 3,
	})
}
