// Package inspect shows what each client of an xDS server has: status, dump and diff. It asks the server over CSDS and prints the
// answers; it must not know what the resources are for.
package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

// patience bounds how long the server may take to answer.
const patience = time.Minute

// Server is one xDS server.
type Server struct {
	conn    *grpc.ClientConn
	address string // what messages call it
	remedy  string // when it cannot be reached
}

// Dial makes a Server, which the caller closes.
func Dial(o *transport.DialOptions) (*Server, error) {
	option, err := o.DialOption(nil)
	if err != nil {
		return nil, err
	}
	if err := o.Reachable(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, transport.Remedy)
	}
	target := o.Address
	if !strings.HasPrefix(target, transport.UnixScheme) {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, option)
	if err != nil {
		return nil, fmt.Errorf("--xds %s: %w", o.Address, err)
	}
	return &Server{conn, o.Server(), o.Remedy()}, nil
}

// Close closes the connection.
func (s *Server) Close() { s.conn.Close() }

// Conn is the connection to the server.
func (s *Server) Conn() grpc.ClientConnInterface { return s.conn }

// Ask asks what clients have. Its error names the server.
func (s *Server) Ask(ctx context.Context, q status.Query) ([]status.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	clients, err := status.Ask(ctx, s.conn, q)
	if what := Incomplete(err); what != "" {
		return nil, fmt.Errorf("xDS server at %s: %s", s.address, what)
	}
	if err = InWords(err); errors.Is(err, errUnreachable) {
		return nil, fmt.Errorf("xDS server at %s: %w: %s", s.address, err, s.remedy)
	}
	if err != nil {
		return nil, fmt.Errorf("xDS server at %s: %w", s.address, err)
	}
	return clients, nil
}

// InWords is the message of a gRPC error without its code. It says so where the server cannot be reached.
func InWords(err error) error {
	var says interface{ GRPCStatus() *grpcstatus.Status }
	if !errors.As(err, &says) {
		return err
	}
	s := says.GRPCStatus()
	if s.Code() == codes.Unavailable {
		return fmt.Errorf("%w (%s)", errUnreachable, s.Message())
	}
	return errors.New(s.Message())
}

// errUnreachable is the error of a server to which no connection can be made.
var errUnreachable = errors.New("it cannot be reached")

// Incomplete is the message of a server that has nothing to serve yet; empty for any other error.
func Incomplete(err error) string {
	var says interface{ GRPCStatus() *grpcstatus.Status }
	if errors.As(err, &says) && says.GRPCStatus().Code() == codes.FailedPrecondition {
		return says.GRPCStatus().Message()
	}
	return ""
}

// Find returns the id of the client that has a name, or the only one whose name begins like that.
func (s *Server) Find(ctx context.Context, name string) (string, error) {
	clients, err := s.Ask(ctx, status.Query{Counts: true})
	if err != nil {
		return "", err
	}
	var all, fit []string
	for _, c := range clients {
		all = append(all, c.ID)
		if c.ID == name {
			return name, nil
		}
		if strings.HasPrefix(c.ID, name) {
			fit = append(fit, c.ID)
		}
	}
	slices.Sort(fit)
	switch fit = slices.Compact(fit); {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return "", fmt.Errorf("client %q could be any of %s: give more of its name", name, enumerate(fit))
	case len(all) == 0:
		return "", fmt.Errorf("client %q is not connected to %s, nor is any other", name, s.address)
	default:
		return "", fmt.Errorf("client %q is not connected to %s; connected are %s", name, s.address, enumerate(all))
	}
}

// maxEnumerated is how many names an error lists.
const maxEnumerated = 10

func enumerate(names []string) string {
	slices.Sort(names)
	names = slices.Compact(names)
	if more := len(names) - maxEnumerated; more > 0 {
		names = append(names[:maxEnumerated:maxEnumerated], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// byType sorts short names of types in the order in which a request meets the resources; other types come last, by name.
func byType(a, b string) int {
	rank := func(name string) int {
		if i := slices.Index(typeOrder, name); i >= 0 {
			return i
		}
		return len(typeOrder)
	}
	return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
}

var typeOrder = []string{"lds", "srds", "rds", "cds", "eds", "sds", "ecds"}

// sortByType sorts resources by byType.
func sortByType(resources []status.Resource) {
	slices.SortStableFunc(resources, func(a, b status.Resource) int {
		return byType(resource.TypeName(a.TypeURL), resource.TypeName(b.TypeURL))
	})
}

// WriteJSON prints clients or comparisons as a JSON array.
func WriteJSON[T any](to io.Writer, all []T) error {
	if all == nil {
		all = []T{} // not null
	}
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

// span is a duration for people.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}
