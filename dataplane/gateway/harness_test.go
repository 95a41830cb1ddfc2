package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// upstreamReset begins Envoy's body of a reply to a request whose upstream connection was lost.
const upstreamReset = "upstream connect error or disconnect/reset before headers. reset reason: "

// waitLimit bounds every wait of a test.
const waitLimit = 2 * time.Minute

// bench is a gateway with a control plane in front of it, over real sockets.
type bench struct {
	testing.TB
	gateway *Gateway
	server  *xds.Server
	admin   *httptest.Server
	stop    func() // ends the gateway and waits for it

	mu       sync.Mutex
	changed  chan struct{}
	progress uint64
	nacks    []resource.Nack
	bound    map[string]string
	loads    map[[2]string]client.ClusterLoad // by cluster and zone: sums, but for the newest InProgress
}

func start(t testing.TB, options Options) *bench {
	t.Helper()
	b := &bench{TB: t, changed: make(chan struct{}), bound: map[string]string{}, loads: map[[2]string]client.ClusterLoad{}}
	b.server = xds.New(xds.Options{
		Settle: time.Millisecond,
		Progress: func(p resource.Progress) {
			if p.Role == contract.RoleGateway && p.Clients > 0 {
				b.note(func() { b.progress = p.Seq })
			}
		},
		Nacked: func(n resource.Nack) { b.note(func() { b.nacks = append(b.nacks, n) }) },
		Loads:  func(r resource.LoadReport) { b.note(func() { b.add(r.Clusters) }) }, LoadInterval: 10 * time.Millisecond,
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer(xds.ServerOptions()...)
	b.server.Register(rpc)
	go func() { _ = rpc.Serve(ln) }() // until Stop below
	t.Cleanup(func() { b.server.Close(); rpc.Stop() })

	options.XDS, options.NodeID = ln.Addr().String(), "test"
	options.Listening = func(name, addr string) { b.note(func() { b.bound[name] = addr }) }
	if options.Drain == 0 {
		options.Drain = 3 * time.Second
	}
	b.gateway = New(options)
	b.admin = httptest.NewServer(b.gateway.Admin())
	t.Cleanup(b.admin.Close)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.gateway.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *bench) note(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *bench) add(loads []resource.ClusterLoad) {
	for _, l := range loads {
		sum := b.loads[[2]string{l.Cluster, l.Zone}]
		b.loads[[2]string{l.Cluster, l.Zone}] = client.ClusterLoad{
			Issued: sum.Issued + l.Issued, Succeeded: sum.Succeeded + l.Succeeded, Failed: sum.Failed + l.Failed, InProgress: l.InProgress,
			Concurrency: sum.Concurrency + l.Concurrency, Streams: sum.Streams + l.Streams,
		}
	}
}

// until waits for a condition on what note has changed.
func (b *bench) until(what string, condition func() bool) {
	b.Helper()
	limit := time.After(waitLimit)
	for {
		b.mu.Lock()
		ok, changed := condition(), b.changed
		b.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			b.Fatalf("timed out waiting for %s (nacks: %v)", what, b.nacks)
		}
	}
}

// push applies resources and waits until the gateway has acknowledged them.
func (b *bench) push(set ...*resource.Resource) {
	b.Helper()
	had := b.refusals()
	b.update(resource.Update{Set: set})
	if b.refusals() > had {
		b.Fatalf("the gateway refused an update: %s", b.refusal(had))
	}
}

func (b *bench) update(u resource.Update) {
	b.Helper()
	seq := b.server.Apply(u)
	b.until(fmt.Sprintf("answers to update %d", seq), func() bool { return b.progress >= seq })
}

// refusal is the text of the newest NACK. It waits until there are more than had.
func (b *bench) refusal(had int) string {
	b.Helper()
	b.until("a NACK", func() bool { return len(b.nacks) > had })
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.nacks[len(b.nacks)-1].Text
}

func (b *bench) refusals() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.nacks)
}

// address is where a listener is.
func (b *bench) address(name string) string {
	b.Helper()
	b.until("listener "+name, func() bool { return b.bound[name] != "" })
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bound[name]
}

// answer is a response, read.
type answer struct {
	*http.Response
	body string
}

// get asks the listener "http" for a URL such as http://host/path, with further headers as pairs.
func (b *bench) get(url string, headers ...string) answer {
	b.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return b.do(req)
}

// do sends a request to the listener "http", whatever its URL's host.
func (b *bench) do(req *http.Request) answer {
	b.Helper()
	if req.Host == "" {
		req.Host = req.URL.Host
	}
	req.URL.Host = b.address("http")
	res, err := noRedirects.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer{res, string(body)}
}

var noRedirects = &http.Client{
	Timeout:       waitLimit,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (a answer) want(t testing.TB, status int, body string) {
	t.Helper()
	if a.StatusCode != status || a.body != body {
		t.Errorf("got %d %q, want %d %q", a.StatusCode, a.body, status, body)
	}
}

// upstream starts a server for h1 and h2c and gives its address.
func upstream(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// says answers every request with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// echo answers with the request's line, host and headers, sorted.
func echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
	var headers bytes.Buffer
	_ = r.Header.Write(&headers)
	fmt.Fprint(w, strings.ReplaceAll(headers.String(), "\r", ""))
}

// deadAddress is an address that nobody listens on.
func deadAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func res(t testing.TB, typeURL, name string, m proto.Message) *resource.Resource {
	t.Helper()
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw(typeURL, name, body)
}

func raw(typeURL, name string, body []byte) *resource.Resource {
	hash := fnv.New64a()
	hash.Write(body)
	return &resource.Resource{
		Type: typeURL, Name: name, Version: hex.EncodeToString(hash.Sum(nil)), Body: body, Roles: contract.RoleGateway,
	}
}

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, ResourceApiVersion: corev3.ApiVersion_V3,
	}
}

func newManager(t testing.TB, routes string) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: ads(), RouteConfigName: routes,
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
		UseRemoteAddress: wrapperspb.Bool(true),
		UpgradeConfigs:   []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		StripPortMode:    &hcmv3.HttpConnectionManager_StripAnyHostPort{StripAnyHostPort: true},
	}
}

func newListener(t testing.TB, name, address string, m *hcmv3.HttpConnectionManager) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name: name, Address: socketAddress(address),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, m)},
		}}}},
	}
}

// plain is the listener "http" on any port, with the route configuration "http".
func plain(t testing.TB, changes ...func(*hcmv3.HttpConnectionManager)) *resource.Resource {
	m := newManager(t, "http")
	for _, change := range changes {
		change(m)
	}
	return res(t, gcpresource.ListenerType, "http", newListener(t, "http", "127.0.0.1:0", m))
}

func routes(t testing.TB, hosts ...*routev3.VirtualHost) *resource.Resource {
	return res(t, gcpresource.RouteType, "http", &routev3.RouteConfiguration{Name: "http", VirtualHosts: hosts})
}

// vhost sends each of its routes somewhere.
func vhost(name string, domains string, routes ...*routev3.Route) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: strings.Fields(domains), Routes: routes}
}

func prefix(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: p}}
}

// to routes what matches to a cluster, without a timeout.
func to(match *routev3.RouteMatch, cluster string, changes ...func(*routev3.RouteAction)) *routev3.Route {
	a := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: durationpb.New(0)}
	for _, change := range changes {
		change(a)
	}
	return &routev3.Route{Match: match, Action: &routev3.Route_Route{Route: a}}
}

func newCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       durationpb.New(2 * time.Second),
	}
}

// group is a locality with endpoints.
func group(priority uint32, zone string, addresses ...string) *endpointv3.LocalityLbEndpoints {
	g := &endpointv3.LocalityLbEndpoints{
		Priority: priority, Locality: &corev3.Locality{Zone: zone}, LoadBalancingWeight: wrapperspb.UInt32(1),
	}
	for _, a := range addresses {
		g.LbEndpoints = append(g.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(a)}},
		})
	}
	return g
}

func endpoints(t testing.TB, name string, groups ...*endpointv3.LocalityLbEndpoints) *resource.Resource {
	return res(t, gcpresource.EndpointType, name, &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: groups})
}

// backend is a cluster with its endpoints at priority 0.
func backend(t testing.TB, name string, addresses ...string) []*resource.Resource {
	return []*resource.Resource{res(t, gcpresource.ClusterType, name, newCluster(name)), endpoints(t, name, group(0, "pods", addresses...))}
}

// h2cBackend is the same for endpoints that speak h2c.
func h2cBackend(t testing.TB, name string, addresses ...string) []*resource.Resource {
	c := newCluster(name)
	options := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		},
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(t, options),
	}
	return []*resource.Resource{res(t, gcpresource.ClusterType, name, c), endpoints(t, name, group(0, "pods", addresses...))}
}

func all(lists ...[]*resource.Resource) []*resource.Resource {
	var out []*resource.Resource
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

func one(r *resource.Resource) []*resource.Resource { return []*resource.Resource{r} }
