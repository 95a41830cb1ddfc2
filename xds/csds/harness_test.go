package csds

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// door is a Gate. Its errors are the answers.
type door struct {
	enter, permit error
	closing       chan struct{}

	mu     sync.Mutex
	inside int
}

func (d *door) Enter() (func(), error) {
	if d.enter != nil {
		return nil, d.enter
	}
	d.add(1)
	return func() { d.add(-1) }, nil
}

// taken is how many places are taken, once all goroutines of the bubble of synctest are at rest.
func (d *door) taken() int {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inside
}

func (d *door) add(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside += n
}

func (d *door) Permit(context.Context, *corev3.Node) error { return d.permit }

func (d *door) Closing() (<-chan struct{}, error) { return d.closing, errClosing }

var errClosing = fmt.Errorf("the server ends")

// stock is a Source with values of a test.
type stock struct {
	complete error
	clients  []*client
	offers   map[uint8][]offer.Offer
	hold     chan struct{} // when set, Clients waits for it
}

func (s *stock) Complete() error { return s.complete }

func (s *stock) Clients() []Client {
	if s.hold != nil {
		<-s.hold
	}
	all := make([]Client, len(s.clients))
	for i, c := range s.clients {
		all[i] = c
	}
	return all
}

func (s *stock) Offered(role uint8) ([]offer.Offer, uint64) { return s.offers[role], 7 }

// client is a Client whose owner answers at once, if it has a view.
type client struct {
	id    Identity
	facts Facts
	view  *session.View // nil: it does not answer
	busy  bool          // it takes no question
	ended chan struct{}

	asked      int
	withBodies bool // of the last question
}

func newClient(stream uint64, node string, view *session.View) *client {
	return &client{
		id:    Identity{Stream: stream, Role: contract.RoleGateway, Node: node},
		facts: Facts{Node: &corev3.Node{Id: node}, Protocol: "delta", Service: "ads", Lag: session.Lag{Newest: 7}},
		view:  view, ended: make(chan struct{}),
	}
}

func (c *client) Identity() Identity     { return c.id }
func (c *client) Facts() Facts           { return c.facts }
func (c *client) Ended() <-chan struct{} { return c.ended }

func (c *client) Ask(q *Question) bool {
	c.asked++
	if c.busy {
		return false
	}
	if c.view != nil {
		q.Answer(c, func(resources bool) *session.View {
			c.withBodies = resources
			return c.view
		})
	}
	return true
}

// endpoints is an entry whose content is body.
func endpoints(name, version string, body []byte) *offer.Entry {
	return offer.NewEntry(&resource.Resource{
		Type: resource.EndpointType, Name: name, Version: version, Body: body, Roles: contract.RoleGateway,
	})
}

// holding is a view of one type.
func holding(holdings ...session.Holding) *session.View {
	t := session.TypeView{URL: resource.EndpointType, Holdings: holdings}
	for i := range holdings {
		t.Counts[holdings[i].Condition]++
		if holdings[i].Condition == session.Synced && holdings[i].Has == nil {
			t.Absent++
		}
	}
	return &session.View{Lag: session.Lag{Newest: 7}, Types: []session.TypeView{t}}
}

func fetch(t *testing.T, s *stock, r *statusv3.ClientStatusRequest) []*statusv3.ClientConfig {
	t.Helper()
	response, err := New(&door{}, s).FetchClientStatus(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return response.Config
}

func figuresOf(c *statusv3.ClientConfig) map[string]any {
	return c.GetNode().GetMetadata().GetFields()[StatusKey].GetStructValue().AsMap()
}

func nodes(matchers ...*matcherv3.StringMatcher) *statusv3.ClientStatusRequest {
	r := &statusv3.ClientStatusRequest{}
	for _, m := range matchers {
		r.NodeMatchers = append(r.NodeMatchers, &matcherv3.NodeMatcher{NodeId: m})
	}
	return r
}

func exactly(id string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id}}
}

// withoutResources asks for figures and counts alone.
func withoutResources(r *statusv3.ClientStatusRequest) *statusv3.ClientStatusRequest {
	r.Node = &corev3.Node{Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
		StatusKey: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"resources": structpb.NewBoolValue(false)}}),
	}}}
	return r
}

// caller is the server's side of a stream of questions.
type caller struct {
	grpc.ServerStream
	ctx      context.Context
	requests chan *statusv3.ClientStatusRequest // closed: the caller asks no more
	take     chan *statusv3.ClientStatusResponse
}

func newCaller(ctx context.Context, room int) *caller {
	return &caller{ctx: ctx, requests: make(chan *statusv3.ClientStatusRequest, 1), take: make(chan *statusv3.ClientStatusResponse, room)}
}

func (c *caller) Context() context.Context { return c.ctx }

func (c *caller) Recv() (*statusv3.ClientStatusRequest, error) {
	select {
	case r, more := <-c.requests:
		if !more {
			return nil, io.EOF
		}
		return r, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

func (c *caller) Send(r *statusv3.ClientStatusResponse) error {
	select {
	case c.take <- r:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}
