package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// Comparison is one stream of a client against the desired state of its role.
type Comparison struct {
	Client      string              `json:"client"`
	Scope       string              `json:"scope"`
	Role        string              `json:"role"`
	Resources   int                 `json:"resources"` // how many were compared
	Differences []status.Difference `json:"differences"`
}

// DiffOptions say how to compare.
type DiffOptions struct {
	Wait     time.Duration // how long to look again until nothing differs
	Contents bool          // whether the differences need contents, as WriteDiff does
}

// lookAgain is the pause between two looks.
const lookAgain = 100 * time.Millisecond

// Diff compares what clients have with what they should have: those of these names, or all.
func (s *Server) Diff(ctx context.Context, names []string, o DiffOptions) ([]Comparison, error) {
	for deadline := time.Now().Add(o.Wait); ; {
		all, err := s.compareAll(ctx, names, o.Contents)
		if err == nil && !Differ(all) || !time.Now().Before(deadline) {
			return all, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// Differ reports whether a comparison has a difference.
func Differ(all []Comparison) bool {
	return slices.ContainsFunc(all, func(c Comparison) bool { return len(c.Differences) > 0 })
}

// compareAll asks for contents, which are large, only when something differs.
func (s *Server) compareAll(ctx context.Context, names []string, contents bool) ([]Comparison, error) {
	all, err := s.compare(ctx, names, status.Query{})
	if err != nil || !contents || !Differ(all) {
		return all, err
	}
	return s.compare(ctx, names, status.Query{Contents: true})
}

// compare asks for the clients and for what each role is offered.
func (s *Server) compare(ctx context.Context, names []string, q status.Query) ([]Comparison, error) {
	for _, name := range names {
		id, err := s.Find(ctx, name)
		if err != nil {
			return nil, err
		}
		q.IDs = []string{id}
	}
	for role := range slices.Values([]uint8{contract.RoleGateway, contract.RoleActivator, contract.RoleMesh}) {
		q.Desired = append(q.Desired, contract.RoleName(role))
	}
	if len(names) == 0 {
		if err := s.everyone(ctx, &q); err != nil {
			return nil, err
		}
	}
	answer, err := s.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	desired := map[string]*status.Client{}
	var all []Comparison
	for n := range answer {
		c := &answer[n]
		switch {
		case c.IsDesired():
			desired[c.Role] = c
		case c.Unknown:
			return nil, fmt.Errorf("client %q does not read what it is sent, for %s now: what it has is not known", c.ID, lagOf(c))
		case desired[c.Role] == nil:
			return nil, fmt.Errorf("the server at %s does not say what is desired for role %q: diff works only with a Sluice",
				s.address, c.Role)
		default:
			all = append(all, Comparison{c.ID, c.Scope, c.Role, len(c.Resources), status.Diff(c, desired[c.Role])})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no client is connected")
	}
	return all, nil
}

// everyone names all clients in a query: the server adds desired states only to a query that names its clients.
func (s *Server) everyone(ctx context.Context, q *status.Query) error {
	clients, err := s.Ask(ctx, status.Query{Counts: true})
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

// WriteDiff prints comparisons as text.
func WriteDiff(to io.Writer, all []Comparison) error {
	for _, c := range all {
		if len(c.Differences) == 0 {
			fmt.Fprintf(to, "%s has all %d resources that it asked for as they are offered to role %s: no difference\n",
				c.Client, c.Resources, c.Role)
			continue
		}
		fmt.Fprintf(to, "%s differs in %d of %d resources from what is offered to role %s\n",
			c.Client, len(c.Differences), c.Resources, c.Role)
		for i := range c.Differences {
			if err := writeDifference(to, &c.Differences[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxDiffLines bounds the unified diff of one resource.
const maxDiffLines = 60

func writeDifference(to io.Writer, d *status.Difference) error {
	fmt.Fprintf(to, "\n%s %s %s: has %s, %s %s\n", d.Kind, strings.ToUpper(resource.TypeName(d.TypeURL)), d.Name,
		cmp.Or(d.Has, "none"), wantedBy(d), cmp.Or(d.Wants, "none"))
	if d.Rejection != nil {
		fmt.Fprintf(to, "  the client says: %s\n", d.Rejection.Text)
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
		more := fmt.Sprintf("… %d more lines; -o json and dump have the versions and the whole", len(lines)-maxDiffLines)
		lines = append(lines[:maxDiffLines], more)
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
		return "rejects"
	}
	return "should have"
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
		A: slices.Collect(strings.Lines(a)), B: slices.Collect(strings.Lines(b)), FromFile: "has", ToFile: "offered", Context: 3,
	})
}
