package main

import (
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// silence is how long the server waits for a client. Clients of a harness never subscribe to some types, or leave responses
// unanswered on purpose, and a harness waits about three seconds for a response.
const silence = time.Second

const everyRole = contract.RoleGateway | contract.RoleActivator | contract.RoleMesh

// nodes are the servers by node id: a server has one state, and a harness sets one for each node.
type nodes struct {
	logger hclog.Logger
	mu     sync.Mutex
	byID   map[string]*node
}

// node is the server of one node id and its state.
type node struct {
	// Set once.
	server   *xds.Server
	services implementations // of the server
	logger   hclog.Logger

	mu sync.Mutex
	// Guarded by mu.
	held map[key]*resource.Resource // in force
}

// implementations are the implementations of gRPC services by name.
type implementations map[string]any

// RegisterService implements grpc.ServiceRegistrar.
func (i implementations) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	i[desc.ServiceName] = implementation
}

type key struct{ url, name string }

func newNodes(logger hclog.Logger) *nodes { return &nodes{logger: logger, byID: map[string]*node{}} }

// of returns the node of an id. A new node's clients wait for its first state.
func (n *nodes) of(id string) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.byID[id]
	if found == nil {
		logger := n.logger.With("node", id)
		found = &node{
			server:   xds.New(xds.Options{Logger: logger, Wait: silence}),
			services: implementations{},
			logger:   logger,
			held:     map[key]*resource.Resource{},
		}
		found.server.Register(found.services)
		n.byID[id] = found
	}
	return found
}

func (n *nodes) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, each := range n.byID {
		each.server.Close()
	}
}

// route reads the node from the first request of a stream and passes the stream, with that request, to the node's server.
func (n *nodes) route(_ any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	first := firstRequest(info.FullMethod)
	if err := stream.RecvMsg(first); err != nil {
		return err
	}
	service, _, _ := strings.Cut(strings.TrimPrefix(info.FullMethod, "/"), "/")
	return handler(n.of(first.GetNode().GetId()).services[service], &replay{stream, first})
}

type introduction interface {
	proto.Message
	GetNode() *corev3.Node
}

// firstRequest returns an empty message of a method's request type.
func firstRequest(method string) introduction {
	switch _, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/"); {
	case name == "StreamLoadStats":
		return &load_statsv3.LoadStatsRequest{}
	case name == "StreamClientStatus":
		return &statusv3.ClientStatusRequest{}
	case strings.HasPrefix(name, "Delta"):
		return &discoveryv3.DeltaDiscoveryRequest{}
	default:
		return &discoveryv3.DiscoveryRequest{}
	}
}

// replay is a stream that returns a request that was read before.
type replay struct {
	grpc.ServerStream
	first proto.Message
}

// RecvMsg may be called by one goroutine at a time, as gRPC requires.
func (r *replay) RecvMsg(m any) error {
	if r.first == nil {
		return r.ServerStream.RecvMsg(m)
	}
	proto.Merge(m.(proto.Message), r.first)
	r.first = nil
	return nil
}

// replace replaces the whole state by these resources, with every type at this version.
func (n *node) replace(version string, resources []*resource.Resource) {
	n.mu.Lock()
	defer n.mu.Unlock()
	u := resource.Update{Versions: map[string]string{}, Set: resources}
	for _, url := range urls {
		u.Versions[url] = version
	}
	for _, r := range n.held {
		u.Removed = append(u.Removed, r)
	}
	clear(n.held)
	for _, r := range resources {
		n.held[key{r.Type, r.Name}] = r
	}
	n.server.Apply(u)
	n.logger.Info("state is set", "version", version, "resources", len(n.held))
}

// set adds or replaces one resource, and gives its type the resource's version.
func (n *node) set(r *resource.Resource) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.put(r)
}

func (n *node) put(r *resource.Resource) {
	n.held[key{r.Type, r.Name}] = r
	n.server.Apply(resource.Update{Set: []*resource.Resource{r}, Versions: map[string]string{r.Type: r.Version}})
	n.logger.Info("resource is set", "type", r.Type, "name", r.Name, "version", r.Version)
}

// update is set for an existing resource with another version.
func (n *node) update(r *resource.Resource) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.held[key{r.Type, r.Name}]
	if old == nil {
		return missing(r.Type, r.Name)
	}
	if old.Version == r.Version {
		return status.Errorf(codes.FailedPrecondition,
			"%s %q has version %q already: a change of content needs another one", r.Type, r.Name, r.Version)
	}
	n.put(r)
	return nil
}

// remove removes a resource, and gives its type a version unless that is empty.
func (n *node) remove(url, name, version string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.held[key{url, name}]
	if old == nil {
		return missing(url, name)
	}
	delete(n.held, key{url, name})
	u := resource.Update{Removed: []*resource.Resource{old}}
	if version != "" {
		u.Versions = map[string]string{url: version}
	}
	n.server.Apply(u)
	n.logger.Info("resource is removed", "type", url, "name", name, "version", version)
	return nil
}

func missing(url, name string) error {
	return status.Errorf(codes.NotFound, "the node has no %s %q: SetState and AddResource make one", url, name)
}
