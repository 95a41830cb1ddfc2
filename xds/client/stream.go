package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
)

// subscribeOrder is the order in which the client subscribes to types on a new stream, so that what a type refers to is there before
// it. Other types come last.
var subscribeOrder = []string{
	resource.ClusterType, resource.EndpointType, resource.SecretType, resource.ListenerType, resource.ScopedRouteType,
	resource.RouteType,
}

type adsStream = discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// session is one stream. Only its goroutine sends and calls the handler.
type session struct {
	client *Client
	stream adsStream
	hello  bool // the node was sent
}

// follow runs one stream to its end, and reports whether the server answered at all.
func (c *Client) follow(ctx context.Context, conn *grpc.ClientConn) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return false, fmt.Errorf("opening the stream: %w", err)
	}
	select {
	case <-c.leave: // this stream gives no address already
	default:
	}
	c.mu.Lock()
	for _, sub := range c.types {
		sub.restart()
	}
	c.mu.Unlock()

	responses := make(chan *discoveryv3.DeltaDiscoveryResponse)
	failed := make(chan error, 1)
	go func() { failed <- receive(ctx, stream, responses) }()

	s := &session{client: c, stream: stream}
	return s.run(responses, failed)
}

// run sends subscriptions and answers responses until the stream fails.
func (s *session) run(responses <-chan *discoveryv3.DeltaDiscoveryResponse, failed <-chan error) (answered bool, err error) {
	for err = s.subscribe(); err == nil; {
		select {
		case err := <-failed:
			return answered, err
		case <-s.client.leave:
			return answered, errRetired
		case <-s.client.wake:
			err = s.subscribe()
		case response := <-responses:
			answered = true
			err = s.take(response)
		}
	}
	if !errors.Is(err, io.EOF) {
		return answered, err
	}
	return answered, receiveError(failed, responses)
}

// receiveError returns the error of receiving, which is the reason when sending fails because the stream is over.
func receiveError(failed <-chan error, responses <-chan *discoveryv3.DeltaDiscoveryResponse) error {
	for {
		select {
		case err := <-failed:
			return err
		case <-responses:
		}
	}
}

// receive passes responses on until the stream or ctx ends.
func receive(ctx context.Context, stream adsStream, to chan<- *discoveryv3.DeltaDiscoveryResponse) error {
	for {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		select {
		case to <- response:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// subscribe sends what has changed in the subscriptions: one request for each type.
func (s *session) subscribe() error {
	for _, typeURL := range s.client.typesInOrder() {
		if err := s.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}, false); err != nil {
			return err
		}
	}
	return nil
}

// take passes a response to the handler and answers it. The handler's subscriptions are sent afterwards, in the order of types.
func (s *session) take(response *discoveryv3.DeltaDiscoveryResponse) error {
	update := s.client.wanted(response)
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: response.GetTypeUrl(), ResponseNonce: response.GetNonce()}
	if err := s.client.config.Handler(update); err != nil {
		answer.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: nackText(err)}
		s.client.logger.Warn("rejected resources of the control plane", "type", update.Type, "error", err)
	} else {
		s.client.accept(update)
	}
	return s.send(answer, true)
}

// send adds the type's changed names to a request and sends it. If there are none and the request is no answer, it does nothing.
func (s *session) send(request *discoveryv3.DeltaDiscoveryRequest, answer bool) error {
	c := s.client
	c.mu.Lock()
	if sub := c.types[request.GetTypeUrl()]; sub != nil {
		if sub.fresh && len(sub.names) > 0 {
			request.InitialResourceVersions = maps.Clone(sub.versions)
			sub.fresh = false
		}
		request.ResourceNamesSubscribe, request.ResourceNamesUnsubscribe = sub.difference()
	}
	c.mu.Unlock()
	if !answer && len(request.GetResourceNamesSubscribe())+len(request.GetResourceNamesUnsubscribe()) == 0 {
		return nil
	}
	if !s.hello {
		s.hello = true
		request.Node = c.node()
	}
	if err := s.stream.Send(request); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

func (c *Client) node() *corev3.Node {
	node := &corev3.Node{
		Id:            c.config.NodeID,
		Cluster:       c.config.Role,
		Locality:      &corev3.Locality{Zone: c.config.Zone},
		UserAgentName: "sluice",
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config.Address != "" && !c.retired {
		ours := &structpb.Struct{Fields: map[string]*structpb.Value{contract.AddressField: structpb.NewStringValue(c.config.Address)}}
		node.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{contract.MetadataKey: structpb.NewStructValue(ours)}}
	}
	return node
}

// wanted is a response without what was unsubscribed in the meantime.
func (c *Client) wanted(response *discoveryv3.DeltaDiscoveryResponse) Update {
	update := Update{Type: response.GetTypeUrl()}
	c.mu.Lock()
	defer c.mu.Unlock()
	sub := c.types[update.Type]
	if sub == nil {
		return update
	}
	for _, r := range response.GetResources() {
		if sub.wants(r.GetName()) {
			update.Set = append(update.Set, Resource{Name: r.GetName(), Version: r.GetVersion(), Body: r.GetResource().GetValue()})
		}
	}
	for _, name := range response.GetRemovedResources() {
		if sub.wants(name) {
			update.Removed = append(update.Removed, name)
		}
	}
	return update
}

func (c *Client) accept(update Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sub := c.types[update.Type]; sub != nil {
		sub.accept(update)
	}
}

func (c *Client) typesInOrder() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	rank := func(typeURL string) int {
		if i := slices.Index(subscribeOrder, typeURL); i >= 0 {
			return i
		}
		return len(subscribeOrder)
	}
	return slices.SortedFunc(maps.Keys(c.types), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}
