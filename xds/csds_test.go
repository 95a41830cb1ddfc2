package xds_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
)

func exactly(ids ...string) *statusv3.ClientStatusRequest {
	r := &statusv3.ClientStatusRequest{}
	for _, id := range ids {
		r.NodeMatchers = append(r.NodeMatchers, idMatch(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id}}))
	}
	return r
}

func idMatch(m *matcherv3.StringMatcher) *matcherv3.NodeMatcher {
	return &matcherv3.NodeMatcher{NodeId: m}
}

// inspected is the answer to a request over a stream of its own.
func (r *rig) inspected(t testing.TB, request *statusv3.ClientStatusRequest) []*statusv3.ClientConfig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := statusv3.NewClientStatusDiscoveryServiceClient(r.dial(t)).StreamClientStatus(ctx)
	if err == nil {
		err = stream.Send(request)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	var configs []*statusv3.ClientConfig
	for err == nil {
		var response *statusv3.ClientStatusResponse
		if response, err = stream.Recv(); err == nil {
			configs = append(configs, response.Config...)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return configs
}

// said is one resource in an answer of CSDS.
type said struct {
	version, failed, text string
	config                statusv3.ConfigStatus
	client                adminv3.ClientResourceStatus
}

// saidOf is the answer for a client, by short type and name.
func (r *rig) saidOf(t testing.TB, id string) map[string]said {
	t.Helper()
	all := map[string]said{}
	for _, c := range r.inspected(t, exactly(id)) {
		for _, g := range c.GetGenericXdsConfigs() {
			all[resource.TypeName(g.GetTypeUrl())+" "+g.GetName()] = said{
				version: g.GetVersionInfo(), failed: g.GetErrorState().GetVersionInfo(), text: g.GetErrorState().GetDetails(),
				config: g.GetConfigStatus(), client: g.GetClientStatus(),
			}
			if has := g.GetXdsConfig() != nil; has != (g.GetVersionInfo() != "") {
				t.Errorf("%s has version %q, and with a content: %v", g.GetName(), g.GetVersionInfo(), has)
			}
		}
	}
	return all
}

func (r *rig) expectSaid(t testing.TB, id string, want map[string]said) {
	t.Helper()
	var got map[string]said
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got = r.saidOf(t, id); maps.Equal(got, want) {
			return
		}
	}
	t.Fatalf("-want +got:\n%s", cmp.Diff(want, got, cmp.AllowUnexported(said{})))
}

func figuresOf(c *statusv3.ClientConfig) map[string]any {
	return c.GetNode().GetMetadata().GetFields()[csds.StatusKey].GetStructValue().AsMap()
}

func TestStatusFollowsAResource(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		one, two, three := endpoints("a", "1"), endpoints("a", "2"), endpoints("a", "3")
		r.set(one)
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a", "nothing")
		first := c.next()
		state := func(s said) map[string]said {
			return map[string]said{
				"eds a": s, "eds nothing": {config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_DOES_NOT_EXIST},
			}
		}
		r.expectSaid(t, "test", state(said{config: statusv3.ConfigStatus_STALE, client: adminv3.ClientResourceStatus_REQUESTED}))
		c.ack(first)
		r.expectSaid(t, "test", state(said{
			version: one.Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED,
		}))
		r.set(two)
		second := c.expect(resource.EndpointType, "a")
		r.expectSaid(t, "test", state(said{
			version: one.Version, config: statusv3.ConfigStatus_STALE, client: adminv3.ClientResourceStatus_ACKED,
		}))
		r.set(three) // waits for the answer
		r.expectSaid(t, "test", state(said{
			version: one.Version, config: statusv3.ConfigStatus_NOT_SENT, client: adminv3.ClientResourceStatus_ACKED,
		}))
		c.ack(second)
		third := c.expect(resource.EndpointType, "a")
		r.expectSaid(t, "test", state(said{
			version: two.Version, config: statusv3.ConfigStatus_STALE, client: adminv3.ClientResourceStatus_ACKED,
		}))
		c.ack(third)
		r.expectSaid(t, "test", state(said{
			version: three.Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED,
		}))
	})
}

func TestStatusHasTheNackAndTheContentInUse(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		good, bad, other := cluster("a", "good"), cluster("a", "bad"), cluster("b", "")
		r.set(good, other)
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "a", "b")
		r.set(bad)
		c.nack(c.next(), "cluster a: alt_stat_name is not to be bad")
		fine := said{version: other.Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED}
		rejected := map[string]said{"cds b": fine, "cds a": {
			version: good.Version, failed: bad.Version, text: "cluster a: alt_stat_name is not to be bad",
			config: statusv3.ConfigStatus_ERROR, client: adminv3.ClientResourceStatus_NACKED,
		}}
		r.expectSaid(t, "test", rejected)
		if got := r.Stats().Types["cds"]; got.Rejected != 1 || got.Nacks != 1 || got.Acks == 0 || got.Pushes < 2 || got.Bytes == 0 {
			t.Errorf("cds: %+v", got)
		}
		better := cluster("a", "better")
		r.set(better)
		for got := ""; got != string(better.Body); { // a response that holds everything comes once more, without the NACKed resource
			next := c.next()
			c.ack(next)
			got = string(next.Set["a"])
		}
		r.expectSaid(t, "test", map[string]said{"cds b": fine, "cds a": {
			version: better.Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED,
		}})
		if got := r.Stats().Types["cds"].Rejected; got != 0 {
			t.Errorf("%d resources are said to be rejected, none is", got)
		}
	})
}

func TestStatusOfASilentClientIsWhatItAcknowledgedLast(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Millisecond})
		one, two := endpoints("a", "1"), endpoints("a", "2")
		r.set(one)
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
		r.expectSaid(t, "test", map[string]said{
			"eds a": {version: one.Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED},
		})
		r.set(two)
		late := c.expect(resource.EndpointType, "a")
		eventually(t, "the client is silent", func() bool {
			return figuresOf(r.inspected(t, exactly("test"))[0])["silent"] == true
		})
		r.expectSaid(t, "test", map[string]said{
			"eds a": {version: one.Version, config: statusv3.ConfigStatus_STALE, client: adminv3.ClientResourceStatus_ACKED},
		})
		c.ack(late)
		r.expectSaid(t, "test", map[string]said{
			"eds a": {version: two.Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED},
		})
	})
}

func TestStatusHasFiguresAndTheNode(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
	seq := r.set(endpoints("a", "1"), endpoints("b", "1"))
	c := r.connect(t, sotw, "activator")
	c.node = nodeAt("activator-1", "activator", "127.0.0.1:1")
	c.node.Extensions = []*corev3.Extension{{Name: "big"}}
	c.subscribe(resource.EndpointType)
	c.take(resource.EndpointType, "a", "b")
	r.expectSaid(t, "activator-1", map[string]said{
		"eds a": {version: endpoints("a", "1").Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED},
		"eds b": {version: endpoints("b", "1").Version, config: statusv3.ConfigStatus_SYNCED, client: adminv3.ClientResourceStatus_ACKED},
	})
	request := exactly("activator-1")
	request.Node = &corev3.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		csds.StatusKey: structpb.NewStructValue(&structpb.Struct{
			Fields: map[string]*structpb.Value{"resources": structpb.NewBoolValue(false)},
		}),
	}}}
	configs := r.inspected(t, request)
	if len(configs) != 1 || len(configs[0].GetGenericXdsConfigs()) != 0 {
		t.Fatalf("asked for figures alone, got %v", configs)
	}
	got := figuresOf(configs[0])
	for _, moment := range []string{"connected", "heard"} {
		if _, err := time.Parse(time.RFC3339Nano, got[moment].(string)); err != nil {
			t.Error(err)
		}
		delete(got, moment)
	}
	bytes := float64(len(endpoints("a", "1").Body) * 2)
	want := map[string]any{
		"stream": 1.0, "role": "activator", "protocol": "sotw", "service": "ads", "sequence": float64(seq), "newest": float64(seq),
		"lag_ms": 0.0,
		"pushes": 1.0, "bytes": bytes, "acks": 1.0, "nacks": 0.0, "answers": true, "silent": false,
		"types": map[string]any{resource.EndpointType: map[string]any{
			"wildcard": true, "synced": 2.0, "absent": 0.0, "stale": 0.0, "not_sent": 0.0, "rejected": 0.0,
			"pushes": 1.0, "bytes": bytes, "acks": 1.0, "nacks": 0.0,
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	node := configs[0].GetNode()
	if node.GetMetadata().GetFields()["sluice.dev"] == nil || node.GetCluster() != "activator" || len(node.GetExtensions()) != 0 {
		t.Errorf("the node is %v", node)
	}
}

func TestClientsAreFoundByTheirNodeIDs(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set()
	for _, id := range []string{"gateway-a", "gateway-b", "Mesh"} {
		c := r.connect(t, delta, "gateway")
		c.node.Id = id
		c.quiet()
	}
	match := func(m *matcherv3.StringMatcher) []*matcherv3.NodeMatcher {
		return []*matcherv3.NodeMatcher{idMatch(m)}
	}
	regex := func(text string) *matcherv3.StringMatcher {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: text}}}
	}
	for name, c := range map[string]struct {
		matchers []*matcherv3.NodeMatcher
		want     []string
		code     codes.Code
	}{
		"all":    {nil, []string{"Mesh", "gateway-a", "gateway-b"}, codes.OK},
		"exact":  {exactly("gateway-a").NodeMatchers, []string{"gateway-a"}, codes.OK},
		"either": {exactly("gateway-a", "Mesh").NodeMatchers, []string{"Mesh", "gateway-a"}, codes.OK},
		"none":   {exactly("gateway").NodeMatchers, nil, codes.OK},
		"prefix": {match(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "gateway-"}}),
			[]string{"gateway-a", "gateway-b"}, codes.OK},
		"suffix": {match(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "-b"}}),
			[]string{"gateway-b"}, codes.OK},
		"contains": {match(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "esh"}}),
			[]string{"Mesh"}, codes.OK},
		"ignoring case": {match(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "mesh"}, IgnoreCase: true}),
			[]string{"Mesh"}, codes.OK},
		"regex":            {match(regex("gateway-[bc]")), []string{"gateway-b"}, codes.OK},
		"regex of a part":  {match(regex("gateway")), nil, codes.OK},
		"bad regex":        {match(regex("(")), nil, codes.InvalidArgument},
		"empty":            {match(&matcherv3.StringMatcher{}), nil, codes.InvalidArgument},
		"by metadata":      {[]*matcherv3.NodeMatcher{{NodeMetadatas: []*matcherv3.StructMatcher{{}}}}, nil, codes.InvalidArgument},
		"too many":         {make([]*matcherv3.NodeMatcher, 20_001), nil, codes.InvalidArgument},
		"too many regexes": {slices.Repeat(match(regex("x")), 101), nil, codes.InvalidArgument},
		"too long a regex": {match(regex(strings.Repeat("x", 2000))), nil, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := statusv3.NewClientStatusDiscoveryServiceClient(r.dial(t)).FetchClientStatus(t.Context(),
				&statusv3.ClientStatusRequest{NodeMatchers: c.matchers})
			var ids []string
			for _, c := range got.GetConfig() {
				ids = append(ids, c.GetNode().GetId())
			}
			if status.Code(err) != c.code || !slices.Equal(ids, c.want) {
				t.Errorf("got %v, %v, want %v, %v", ids, err, c.want, c.code)
			}
		})
	}
}

func TestStatusDoesNotWaitForAClientThatDoesNotRead(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Wait: 10 * time.Millisecond, Settle: time.Nanosecond})
		big := func(i int) *resource.Resource { return cluster("big", strings.Repeat(fmt.Sprint(i%10), 300_000)) }
		r.set(big(0))
		const stuckClients = 20
		for i := range stuckClients {
			wire, err := p.open(t.Context(), r.dial(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := wire.subscribe(&corev3.Node{Id: fmt.Sprintf("stuck-%02d", i), Cluster: "gateway"}, resource.ClusterType); err != nil {
				t.Fatal(err)
			}
		}
		good := r.connect(t, p, "mesh")
		good.subscribe(resource.ClusterType)
		good.take(resource.ClusterType, "big")
		var configs []*statusv3.ClientConfig
		changes := 0
		eventually(t, "all stuck clients are held up in sending", func() bool {
			changes++
			r.set(big(changes))
			good.take(resource.ClusterType, "big")
			configs = r.inspected(t, &statusv3.ClientStatusRequest{})
			stuck := 0
			for _, c := range configs {
				if figuresOf(c)["answers"] == false {
					stuck++
				}
			}
			return stuck == stuckClients
		})
		for _, c := range configs[:stuckClients] {
			if f := figuresOf(c); f["lag_ms"].(float64) < 1 || f["role"] != "gateway" || len(c.GetGenericXdsConfigs()) > 0 {
				t.Errorf("%s: %v", c.GetNode().GetId(), f)
			}
		}
		if last := configs[stuckClients]; last.GetNode().GetId() != "test" || len(last.GetGenericXdsConfigs()) != 1 {
			t.Errorf("the answer for the good client is %v", figuresOf(last))
		}
	})
}

const key = "-----BEGIN PRIVATE KEY-----"

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}

func TestPrivateKeysAreNotShown(t *testing.T) {
	certificate := &tlsv3.TlsCertificate{CertificateChain: inline("chain"), PrivateKey: inline(key), Password: inline(key)}
	resources := []*resource.Resource{
		made(resource.SecretType, "pair", &tlsv3.Secret{Name: "pair", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: certificate}}),
		made(resource.SecretType, "token", &tlsv3.Secret{
			Name: "token", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: inline(key)}},
		}),
		made(resource.SecretType, "tickets", &tlsv3.Secret{
			Name: "tickets", Type: &tlsv3.Secret_SessionTicketKeys{
				SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{inline(key)}},
			},
		}),
		made(resource.ListenerType, "https", &listenerv3.Listener{Name: "https", FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: &corev3.TransportSocket{
				Name: "tls",
				ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: anyOf(&tlsv3.DownstreamTlsContext{
					CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{certificate}},
				})},
			},
		}}}),
		{Type: "type.googleapis.com/test.Unknown", Name: "unknown", Version: "1", Body: []byte(key), Roles: everyRole},
	}
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.set(resources...)
		c := r.connect(t, p, "gateway")
		types := []string{resource.SecretType, resource.ListenerType}
		if p == delta { // the harness reads names out of contents in the state of the world
			types = append(types, "type.googleapis.com/test.Unknown")
		}
		for _, typeURL := range types {
			c.subscribe(typeURL)
			got := c.next()
			if joined := fmt.Sprintf("%s", got.Set); !strings.Contains(joined, key) {
				t.Fatalf("%s came without what the client needs", got.short())
			}
			if typeURL == resource.SecretType {
				c.nack(got, "no secrets, please")
			} else {
				c.ack(got)
			}
		}
		eventually(t, "all is answered", func() bool { return r.Stats().Acks+r.Stats().Nacks == uint64(len(types)) })
		shown, chains := 0, 0
		for _, config := range r.inspected(t, exactly("test", csds.DesiredPrefix+"gateway")) {
			text, err := proto.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), key) {
				t.Errorf("a key is shown: %v", config)
			}
			shown += strings.Count(string(text), csds.Redacted)
			chains += strings.Count(string(text), "chain")
		}
		// Of each the client's and the desired one: two of the pair, one of the token, two of the listener. A list is left out.
		if shown != 10 || chains != 4 {
			t.Errorf("%d secrets are redacted, want 10; %d chains, want 4", shown, chains)
		}
	})
}

func TestDesiredStateIsAnsweredByItsName(t *testing.T) {
	r := serve(t, xds.Options{})
	everywhere, mesh := cluster("b", ""), endpoints("a", "1")
	mesh.Roles = contract.RoleMesh
	r.set(mesh, everywhere)
	for role, want := range map[string][]string{"gateway": {"cds b"}, "mesh": {"cds b", "eds a"}} {
		configs := r.inspected(t, exactly(csds.DesiredPrefix+role))
		var got []string
		for _, g := range configs[0].GetGenericXdsConfigs() {
			got = append(got, resource.TypeName(g.GetTypeUrl())+" "+g.GetName())
		}
		if len(configs) != 1 || configs[0].GetClientScope() != "desired" || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", role, configs, want)
		}
	}
	if got := r.inspected(t, &statusv3.ClientStatusRequest{}); len(got) != 0 {
		t.Errorf("the desired state is in the answer for all clients: %v", got)
	}
}

// The answer for a thousand clients comes in messages that every gRPC client takes, and that for one client in several if it is large.
func TestStatusOfManyClientsComesInParts(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond, MaxStreams: 2000})
	var all []*resource.Resource
	for i := range 100 {
		all = append(all, endpoints(fmt.Sprint(i), strings.Repeat("x", 1000)))
	}
	r.set(all...)
	const clients = 1000
	var conn *grpc.ClientConn
	for i := range clients {
		if i%100 == 0 {
			conn = r.dial(t)
		}
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: fmt.Sprintf("c%04d", i)},
			TypeUrl: resource.EndpointType}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are there", func() bool { return r.Stats().Streams["mesh"] == clients && r.Stats().Pushes == clients })
	stream, err := statusv3.NewClientStatusDiscoveryServiceClient(r.dial(t)).StreamClientStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a stream may ask again
		if err := stream.Send(&statusv3.ClientStatusRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	seen, resources, expected, messages := map[string]int{}, 0, 0, 0
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(response); size > 4<<20 {
			t.Errorf("a message has %d bytes", size)
		}
		messages++
		for _, c := range response.Config {
			if seen[c.GetNode().GetId()]++; figuresOf(c)["answers"] == true {
				expected += len(all) // the others did not answer in time, on a machine that does other things too
			}
			resources += len(c.GetGenericXdsConfigs())
		}
	}
	if len(seen) != clients || resources != expected || expected < clients*len(all) || messages < 2 {
		t.Errorf("%d clients with %d resources in %d messages, want %d with %d in several",
			len(seen), resources, messages, clients, expected)
	}
}
