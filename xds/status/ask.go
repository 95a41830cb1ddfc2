package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
)

// maxAnswer is the largest message that Ask takes, in bytes. The server splits messages, but one resource may be large.
const maxAnswer = 256 << 20

// Query says what to ask for.
type Query struct {
	IDs      []string // node ids; none: all clients
	Desired  []string // roles whose desired state to ask for too; it comes first, one client for each role
	Contents bool     // resources with their contents
	Counts   bool     // no resources, only how many
}

// Ask returns what the server knows: a Client for each stream, in the order of roles and names.
func Ask(ctx context.Context, conn grpc.ClientConnInterface, q Query) ([]Client, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := statusv3.NewClientStatusDiscoveryServiceClient(conn).StreamClientStatus(ctx, grpc.MaxCallRecvMsgSize(maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("asking for the status of clients: %w", err)
	}
	if err := stream.Send(q.request()); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv has the reason
		return nil, fmt.Errorf("asking for the status of clients: %w", err)
	}
	if err := stream.CloseSend(); err != nil {
		return nil, fmt.Errorf("asking for the status of clients: %w", err)
	}
	var all []Client
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the status of clients: %w", err)
		}
		for _, c := range response.GetConfig() {
			all = join(all, c)
		}
	}
}

func (q Query) request() *statusv3.ClientStatusRequest {
	r := &statusv3.ClientStatusRequest{ExcludeResourceContents: !q.Contents}
	if q.Counts {
		r.Node = &corev3.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			csds.StatusKey: structpb.NewStructValue(&structpb.Struct{
				Fields: map[string]*structpb.Value{"resources": structpb.NewBoolValue(false)},
			}),
		}}}
	}
	match := func(id string) {
		r.NodeMatchers = append(r.NodeMatchers, &matcherv3.NodeMatcher{
			NodeId: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id}},
		})
	}
	for _, role := range q.Desired {
		match(csds.DesiredPrefix + role)
	}
	for _, id := range q.IDs {
		match(id)
	}
	return r
}

// join adds a configuration: to the last client if it is of that, else as a new one.
func join(all []Client, c *statusv3.ClientConfig) []Client {
	if last := len(all) - 1; last < 0 || all[last].ID != c.GetNode().GetId() || all[last].Scope != c.GetClientScope() {
		all = append(all, clientOf(c))
	}
	last := &all[len(all)-1]
	for _, r := range c.GetGenericXdsConfigs() {
		last.Resources = append(last.Resources, resourceOf(r, last.IsDesired()))
	}
	return all
}

// IsDesired is whether this is the desired state of the role rather than a client.
func (c *Client) IsDesired() bool { return c.Scope == csds.DesiredScope }

func clientOf(c *statusv3.ClientConfig) Client {
	f := c.GetNode().GetMetadata().GetFields()[csds.StatusKey].GetStructValue().GetFields()
	number := func(name string) uint64 { return uint64(f[name].GetNumberValue()) }
	out := Client{
		ID: c.GetNode().GetId(), Scope: c.GetClientScope(),
		Role: f["role"].GetStringValue(), Protocol: f["protocol"].GetStringValue(), Service: f["service"].GetStringValue(),
		Connected: moment(f["connected"].GetStringValue()), Heard: moment(f["heard"].GetStringValue()),
		Sequence: number("sequence"), Newest: number("newest"), LagMillis: int64(number("lag_ms")),
		Pushes: number("pushes"), Bytes: number("bytes"), Acks: number("acks"), Nacks: number("nacks"),
		Silent: f["silent"].GetBoolValue(), Types: map[string]Type{},
	}
	if answers, ok := f["answers"].GetKind().(*structpb.Value_BoolValue); ok {
		out.Unknown = !answers.BoolValue
	}
	for url, t := range f["types"].GetStructValue().GetFields() {
		figures := t.GetStructValue().GetFields()
		count := func(name string) int { return int(figures[name].GetNumberValue()) }
		out.Types[shortName(url)] = Type{
			URL: url, Wildcard: figures["wildcard"].GetBoolValue(),
			Synced: count("synced"), Absent: count("absent"), Stale: count("stale"), NotSent: count("not_sent"),
			Rejected: count("rejected"),
		}
	}
	return out
}

// shortName is the short name of a type, or its URL if it has none.
func shortName(url string) string {
	if name := resource.TypeName(url); resource.TypeURL(name) == url {
		return name
	}
	return url
}

func moment(text string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, text)
	return t
}

func momentOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}

func resourceOf(g *statusv3.ClientConfig_GenericXdsConfig, desired bool) Resource {
	r := Resource{
		TypeURL: g.GetTypeUrl(), Name: g.GetName(), Version: g.GetVersionInfo(), State: stateOf(g, desired),
		Updated: momentOf(g.GetLastUpdated()), Content: g.GetXdsConfig(),
	}
	if e := g.GetErrorState(); e != nil {
		r.Rejection = &Rejection{
			Version: e.GetVersionInfo(), Text: e.GetDetails(), At: momentOf(e.GetLastUpdateAttempt()), Content: e.GetFailedConfiguration(),
		}
	}
	return r
}

func stateOf(g *statusv3.ClientConfig_GenericXdsConfig, desired bool) State {
	switch {
	case desired:
		return Offered
	case g.GetConfigStatus() == statusv3.ConfigStatus_ERROR:
		return Rejected
	case g.GetConfigStatus() == statusv3.ConfigStatus_STALE:
		return Stale
	case g.GetConfigStatus() == statusv3.ConfigStatus_NOT_SENT:
		return NotSent
	case g.GetVersionInfo() == "":
		return Absent
	default:
		return Synced
	}
}
