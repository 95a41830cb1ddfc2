// Command istio calls the echo of `sluice sample` with the resources of istio's delta client (pkg/adsc). The client subscribes to
// resources and acknowledges them, and this program makes calls by them, as a proxyless gRPC client does.
//
// For each line of its input, "call HOST N", it makes N calls one after the other, and prints a line of JSON: how many calls were
// answered with which text, and with which error. XDS_SERVER names the server. With the argument "names" it subscribes to routes,
// clusters and endpoints by name when a resource names them, with "wildcard" to everything. It NACKs clusters whose endpoints do not
// come from EDS.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // registers the types in clusters
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/istio/pkg/adsc"
	"istio.io/istio/pkg/backoff"
	"istio.io/istio/pkg/log"
)

// Type URLs of the resources that are subscribed to by name.
const (
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

func main() {
	mode := "wildcard"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	if err := logToStderr(); err != nil {
		fmt.Fprintln(os.Stderr, "istio's log:", err)
		os.Exit(1)
	}
	p := &picture{
		listeners: map[string]string{}, routes: map[string]*routev3.RouteConfiguration{}, clusters: map[string]bool{},
		endpoints: map[string]*endpointv3.ClusterLoadAssignment{}, current: map[string]*routev3.RouteConfiguration{},
		patient: mode == "names", conns: map[string]*grpc.ClientConn{},
		calling: map[string]context.CancelFunc{},
	}
	policy := backoff.NewExponentialBackOff(backoff.Option{InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second})
	config := &adsc.DeltaADSConfig{
		Config: adsc.Config{GrpcOpts: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}},
	}
	client := adsc.NewDeltaWithBackoffPolicy(os.Getenv("XDS_SERVER"), config, policy, p.handlers(mode)...)
	go client.Run(context.Background())
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		words := strings.Fields(orders.Text())
		n, err := strconv.Atoi(words[2])
		if err != nil {
			panic(err)
		}
		line, err := json.Marshal(p.calls(words[1], n))
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	}
}

// logToStderr keeps istio's log out of the answers.
func logToStderr() error {
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	return log.Configure(options)
}

// picture is the client's configuration.
type picture struct {
	mu        sync.Mutex        // guards all fields
	listeners map[string]string // host → route configuration
	routes    map[string]*routev3.RouteConfiguration
	patient   bool                                   // keep the routes in use until the new ones are complete
	current   map[string]*routev3.RouteConfiguration // the routes in use
	clusters  map[string]bool
	endpoints map[string]*endpointv3.ClusterLoadAssignment
	conns     map[string]*grpc.ClientConn   // by address and host
	calling   map[string]context.CancelFunc // ends the present call of a host
}

// handlers store resources in the picture, and subscribe to the resources that they name.
func (p *picture) handlers(mode string) []adsc.Option {
	names := mode == "names"
	need := func(ctx adsc.HandlerContext, typeURL string, resources ...string) {
		if names {
			ctx.RegisterDependency(typeURL, resources...)
		}
	}
	options := []adsc.Option{
		adsc.Register(func(ctx adsc.HandlerContext, name, _ string, l *listenerv3.Listener, event adsc.Event) {
			keep(p, p.listeners, name, event, func() string {
				route := routeOf(l)
				need(ctx, routeType, route)
				return route
			})
			if event == adsc.EventDelete {
				p.giveUp(name)
			}
		}),
		adsc.Register(func(ctx adsc.HandlerContext, name, _ string, r *routev3.RouteConfiguration, event adsc.Event) {
			keep(p, p.routes, name, event, func() *routev3.RouteConfiguration {
				need(ctx, clusterType, clustersOf(r)...)
				return r
			})
		}),
		adsc.Register(func(ctx adsc.HandlerContext, name, _ string, c *clusterv3.Cluster, event adsc.Event) {
			if event == adsc.EventAdd && c.GetType() != clusterv3.Cluster_EDS {
				ctx.Reject(fmt.Errorf("cluster %s is not of type EDS", name))
				return
			}
			keep(p, p.clusters, name, event, func() bool {
				need(ctx, endpointType, name)
				return true
			})
		}),
		adsc.Register(func(_ adsc.HandlerContext, name, _ string, e *endpointv3.ClusterLoadAssignment, event adsc.Event) {
			keep(p, p.endpoints, name, event, func() *endpointv3.ClusterLoadAssignment { return e })
		}),
		adsc.Watch[*listenerv3.Listener]("*"),
	}
	if !names {
		options = append(options,
			adsc.Watch[*clusterv3.Cluster]("*"),
			adsc.Watch[*endpointv3.ClusterLoadAssignment]("*"),
			adsc.Watch[*routev3.RouteConfiguration]("*"))
	}
	return options
}

// keep stores one resource in a map of the picture, or removes it.
func keep[T any](p *picture, m map[string]T, name string, event adsc.Event, value func() T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if event == adsc.EventDelete {
		delete(m, name)
		return
	}
	m[name] = value()
}

func routeOf(l *listenerv3.Listener) string {
	manager := &hcmv3.HttpConnectionManager{}
	if err := l.GetApiListener().GetApiListener().UnmarshalTo(manager); err != nil {
		return ""
	}
	return manager.GetRds().GetRouteConfigName()
}

func clustersOf(r *routev3.RouteConfiguration) []string {
	var names []string
	for _, host := range r.GetVirtualHosts() {
		for _, route := range host.GetRoutes() {
			for _, share := range route.GetRoute().GetWeightedClusters().GetClusters() {
				names = append(names, share.GetName())
			}
			if name := route.GetRoute().GetCluster(); name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// counts are the outcomes of calls.
type counts struct {
	Answers map[string]int `json:"answers"`
	Errors  map[string]int `json:"errors"`
}

func (p *picture) calls(host string, n int) counts {
	out := counts{map[string]int{}, map[string]int{}}
	for range n {
		text, err := p.call(host)
		if err != nil {
			out.Errors[err.Error()]++
		} else {
			out.Answers[text]++
		}
	}
	return out
}

func (p *picture) call(host string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p.mu.Lock()
	p.calling[host] = cancel
	p.mu.Unlock()
	conn, err := p.choose(host)
	if err != nil {
		return "", err
	}
	reply := &wrapperspb.StringValue{}
	err = conn.Invoke(ctx, "/sluice.sample.Echo/Echo", wrapperspb.String("ping"), reply)
	return reply.GetValue(), err
}

// giveUp ends the call to a host that was removed. An activator may hold the call for some seconds. And istio's client by names ends
// itself when it receives the removal of a cluster after that of its route, which is five seconds later.
func (p *picture) giveUp(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel := p.calling[host]; cancel != nil {
		cancel()
	}
}

// choose follows the picture from the host to one endpoint, and returns an error if a resource is missing.
func (p *picture) choose(host string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, ok := p.listeners[host]
	if !ok {
		return nil, fmt.Errorf("no listener %s", host)
	}
	if route := p.routes[name]; !p.patient || p.current[name] == nil || p.whole(route) {
		p.current[name] = route
	}
	route := p.current[name]
	if route == nil {
		return nil, fmt.Errorf("no route configuration %s", name)
	}
	cluster := draw(route, host)
	if !p.patient && !p.clusters[cluster] {
		return nil, fmt.Errorf("no cluster %q of route configuration %s", cluster, name)
	}
	address := first(p.endpoints[cluster])
	if address == "" {
		return nil, fmt.Errorf("no endpoint of cluster %s", cluster)
	}
	key := address + " " + host
	if p.conns[key] == nil {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithAuthority(host),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		p.conns[key] = conn
	}
	return p.conns[key], nil
}

// whole reports whether all clusters and endpoints of a route configuration are there. A client that subscribes to clusters by name
// gets the names from the routes, so a server cannot send the clusters first. Like gRPC, such a client uses its old routes until then.
func (p *picture) whole(route *routev3.RouteConfiguration) bool {
	return route == nil || !slices.ContainsFunc(clustersOf(route), func(name string) bool {
		return !p.clusters[name] || first(p.endpoints[name]) == ""
	})
}

// draw chooses a cluster of the host's last route, which is the one without conditions.
func draw(config *routev3.RouteConfiguration, host string) string {
	for _, h := range config.GetVirtualHosts() {
		if !slices.Contains(h.GetDomains(), host) && !slices.Contains(h.GetDomains(), "*") || len(h.GetRoutes()) == 0 {
			continue
		}
		action := h.GetRoutes()[len(h.GetRoutes())-1].GetRoute()
		shares := action.GetWeightedClusters().GetClusters()
		if shares == nil {
			return action.GetCluster()
		}
		sum := uint32(0)
		for _, s := range shares {
			sum += s.GetWeight().GetValue()
		}
		at := rand.Uint32N(max(sum, 1))
		for _, s := range shares {
			if at < s.GetWeight().GetValue() {
				return s.GetName()
			}
			at -= s.GetWeight().GetValue()
		}
	}
	return ""
}

// first chooses an endpoint of the first priority that has any.
func first(assignment *endpointv3.ClusterLoadAssignment) string {
	for priority := range uint32(2) {
		var addresses []string
		for _, locality := range assignment.GetEndpoints() {
			if locality.GetPriority() != priority {
				continue
			}
			for _, e := range locality.GetLbEndpoints() {
				socket := e.GetEndpoint().GetAddress().GetSocketAddress()
				addresses = append(addresses, net.JoinHostPort(socket.GetAddress(), strconv.Itoa(int(socket.GetPortValue()))))
			}
		}
		if len(addresses) > 0 {
			return addresses[rand.IntN(len(addresses))]
		}
	}
	return ""
}
