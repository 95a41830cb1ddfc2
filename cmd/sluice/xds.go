package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"sluice.dev/sluice/xds/status"
)

func xdsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "xds",
		Short: "Show what each client of an xDS server has: status, dump, diff",
		Long: `Xds asks a running Sluice what its gateways, activators and gRPC clients have, over CSDS on the socket of
its xDS server, which is in its data directory. Any other xDS server, named by --xds, that tells it by resource (generic_xds_configs) can be asked too, but for
diff and the figures. Private keys are never shown.`,
	}
	c.AddCommand(xdsStatusCommand(), xdsDumpCommand(), xdsDiffCommand())
	return c
}

// inspectFlags are what the commands of `sluice xds` share.
type inspectFlags struct {
	server xdsFlags
	output string
}

func (f *inspectFlags) add(c *cobra.Command, output, outputs string) {
	f.server.add(c)
	c.Flags().StringVarP(&f.output, "output", "o", output, "what to print: "+outputs)
}

// inspectionPatience bounds how long the server may take to answer.
const inspectionPatience = time.Minute

// inspector asks one server.
type inspector struct {
	conn    *grpc.ClientConn
	address string
}

// dial makes an inspector; it is to be closed.
func (f *inspectFlags) dial() (*inspector, error) {
	option, err := f.server.dialOption(nil)
	if err != nil {
		return nil, err
	}
	if err := f.server.reachable(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, xdsRemedy)
	}
	target := f.server.address
	if !strings.HasPrefix(target, unixScheme) {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, option)
	if err != nil {
		return nil, fmt.Errorf("--xds %s: %w", f.server.address, err)
	}
	return &inspector{conn, f.server.address}, nil
}

func (i *inspector) close() { i.conn.Close() }

func (i *inspector) ask(ctx context.Context, q status.Query) ([]status.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectionPatience)
	defer cancel()
	clients, err := status.Ask(ctx, i.conn, q)
	if what := incomplete(err); what != "" {
		return nil, fmt.Errorf("xDS server at %s: %s", i.address, what)
	}
	if err = inWordsOfServer(err); errors.Is(err, errUnreachable) {
		return nil, fmt.Errorf("xDS server at %s: %w: %s", i.address, err, xdsRemedy)
	}
	if err != nil {
		return nil, fmt.Errorf("xDS server at %s: %w", i.address, err)
	}
	return clients, nil
}

// inWordsOfServer is an error of asking as the server says it, or what keeps it from being asked.
func inWordsOfServer(err error) error {
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

// errUnreachable is the error of a connection to an xDS server that cannot be made.
var errUnreachable = errors.New("it cannot be reached")

// incomplete is what a server says that has nothing to serve yet; empty for any other error.
func incomplete(err error) string {
	var says interface{ GRPCStatus() *grpcstatus.Status }
	if errors.As(err, &says) && says.GRPCStatus().Code() == codes.FailedPrecondition {
		return says.GRPCStatus().Message()
	}
	return ""
}

// find is the id of the client that a word means: its name, or the beginning of no other's.
func (i *inspector) find(ctx context.Context, word string) (string, error) {
	clients, err := i.ask(ctx, status.Query{Counts: true})
	if err != nil {
		return "", err
	}
	var all, fit []string
	for _, c := range clients {
		all = append(all, c.ID)
		if c.ID == word {
			return word, nil
		}
		if strings.HasPrefix(c.ID, word) {
			fit = append(fit, c.ID)
		}
	}
	slices.Sort(fit)
	switch fit = slices.Compact(fit); {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		return "", fmt.Errorf("client %q could be any of %s: give more of its name", word, enumerate(fit))
	case len(all) == 0:
		return "", fmt.Errorf("client %q is not connected to %s, nor is any other", word, i.address)
	default:
		return "", fmt.Errorf("client %q is not connected to %s; connected are %s", word, i.address, enumerate(all))
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

// byType sorts types in the order in which a request meets the resources.
func byType(a, b string) int {
	rank := func(name string) int {
		if i := slices.Index(typeOrder, name); i >= 0 {
			return i
		}
		return len(typeOrder)
	}
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

var typeOrder = []string{"lds", "srds", "rds", "cds", "eds", "sds"}

func printJSON(to io.Writer, v any) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// ago is a time span for people.
func ago(d time.Duration) string {
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
