package xds

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/csds"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// conn is one stream of resources: its reader (listen) and its writer (run), which owns the session.Stream.
type conn struct {
	// Set once; from node on, before the server lists it among those that it serves.
	server    *Server
	wire      wire
	inbox     chan *session.Request // from the reader to the writer
	node      *corev3.Node          // what the client said of itself, in short
	id        csds.Identity
	born      time.Time
	stream    *session.Stream
	questions chan *csds.Question // to the writer
	ended     chan struct{}       // closed when the writer answers no more questions

	heard   atomic.Int64 // by the reader: when the client was heard last, in Unix nanoseconds
	sending atomic.Int64 // by the writer: since when it is in sending, in Unix nanoseconds; 0: it is not
}

// serve runs a stream to its end.
func (s *Server) serve(ctx context.Context, w wire) error {
	leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errClosing) })()

	c := &conn{server: s, wire: w, inbox: make(chan *session.Request, inboxSize)}
	go func() { cancel(c.listen(ctx)) }()
	err = c.converse(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen is the reader. It passes requests on until the stream ends, and makes a client wait that NACKs too often.
func (c *conn) listen(ctx context.Context) error {
	nacks := rate.NewLimiter(maxNacks, 2*maxNacks)
	for {
		r, err := c.wire.receive()
		if err != nil {
			return err
		}
		c.heard.Store(time.Now().UnixNano())
		switch {
		case r.Type == "" || len(r.Type) > maxType:
			return status.Errorf(codes.InvalidArgument, "type_url has %d bytes; 1 to %d are taken", len(r.Type), maxType)
		case len(r.Node.GetId()) > resource.MaxNodeID:
			return status.Errorf(codes.InvalidArgument,
				"node.id has %d bytes; at most %d are taken", len(r.Node.GetId()), resource.MaxNodeID)
		}
		if r.Error != nil {
			if err := nacks.Wait(ctx); err != nil {
				return err
			}
		}
		select {
		case c.inbox <- r:
			c.server.requests.Add(1)
		case <-ctx.Done():
			return nil
		}
	}
}

// converse waits for the first request and the first state, and then runs the writer.
func (c *conn) converse(ctx context.Context) error {
	hello := time.NewTimer(helloTimeout)
	defer hello.Stop()
	var first *session.Request
	select {
	case first = <-c.inbox:
	case <-hello.C:
		return status.Errorf(codes.DeadlineExceeded, "no request within %v of opening the stream", helloTimeout)
	case <-ctx.Done():
		return nil
	}
	s, role := c.server, contract.RoleOf(first.Node.GetCluster())
	if err := s.permit(ctx, contract.RoleName(role), first.Node); err != nil {
		return err
	}
	defer s.hub.Connect(role, resource.NodeOf(first.Node))()
	select {
	case <-s.hub.Ready():
	case <-ctx.Done():
		return nil
	}
	c.begin(first.Node, s.trusts(ctx, first.Node))
	defer c.end()
	return c.run(ctx, first)
}

// begin makes the stream one that the server serves.
func (c *conn) begin(node *corev3.Node, trusted bool) {
	s := c.server
	c.id = csds.Identity{Stream: s.numbered.Add(1), Role: contract.RoleOf(node.GetCluster()), Node: node.GetId()}
	c.node, c.born = briefNode(node), time.Now()
	c.questions, c.ended = make(chan *csds.Question, csds.MaxQuestions), make(chan struct{})
	c.stream = s.hub.Join(session.Client{
		Protocol: c.wire.protocol(), Role: c.id.Role, ID: c.id.Node, OneType: c.wire.oneType() != "", NamesOnly: !trusted,
		Heard: c.heard.Load, Send: c.send,
	}, c.born)
	s.mu.Lock()
	s.serving[c] = struct{}{}
	s.mu.Unlock()
}

func (c *conn) end() {
	c.server.mu.Lock()
	delete(c.server.serving, c)
	c.server.mu.Unlock()
	close(c.ended)
	c.stream.Leave(time.Now())
}

// run is the writer: it handles what the client says and what changed, and sends what may be sent, until ctx ends.
func (c *conn) run(ctx context.Context, first *session.Request) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	if err := c.handle(first); err != nil {
		return err
	}
	for {
		var q *csds.Question
		select {
		case r := <-c.inbox:
			if err := c.handle(r); err != nil {
				return err
			}
		case q = <-c.questions:
		case <-c.stream.Changed():
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		if err := c.stream.Advance(time.Now()); err != nil {
			return err
		}
		now := time.Now() // sending may have taken long
		c.stream.Report(now)
		if q != nil {
			q.Answer(c, c.stream.View)
		}
		timer.Reset(c.stream.Delay(now))
	}
}

// handle handles a request and all that wait behind it, so that the answers come in the order of types.
func (c *conn) handle(r *session.Request) error {
	for {
		if err := c.stream.Handle(r, time.Now()); err != nil {
			return err
		}
		select {
		case r = <-c.inbox:
		default:
			return nil
		}
	}
}

// send is session.Client.Send.
func (c *conn) send(r session.Response) (time.Time, error) {
	c.sending.Store(time.Now().UnixNano())
	err := c.wire.send(r)
	c.sending.Store(0)
	return time.Now(), err
}

// Identity implements csds.Client.
func (c *conn) Identity() csds.Identity { return c.id }

// Facts implements csds.Client.
func (c *conn) Facts() csds.Facts {
	service := "ads"
	if url := c.wire.oneType(); url != "" {
		service = resource.TypeName(url)
	}
	facts := csds.Facts{
		Node: c.node, Protocol: c.wire.protocol().String(), Service: service, Connected: c.born, Heard: time.Unix(0, c.heard.Load()),
		Traffic: c.stream.Traffic(), Lag: c.stream.Lag(),
	}
	if since := c.sending.Load(); since != 0 {
		facts.Sending = time.Unix(0, since)
	}
	return facts
}

// Ask implements csds.Client.
func (c *conn) Ask(q *csds.Question) bool {
	select {
	case c.questions <- q:
		return true
	default:
		return false
	}
}

// Ended implements csds.Client.
func (c *conn) Ended() <-chan struct{} { return c.ended }

// maxBriefNode is how many bytes of a node are kept.
const maxBriefNode = 64 << 10

// briefNode is a node without what only the client itself needs: Envoy's list of all its extensions has tens of kilobytes.
func briefNode(n *corev3.Node) *corev3.Node {
	brief := &corev3.Node{
		Id: n.GetId(), Cluster: n.GetCluster(), Locality: n.GetLocality(), Metadata: n.GetMetadata(),
		UserAgentName: n.GetUserAgentName(), UserAgentVersionType: n.GetUserAgentVersionType(), ClientFeatures: n.GetClientFeatures(),
	}
	if proto.Size(brief) > maxBriefNode {
		return &corev3.Node{Id: n.GetId(), Cluster: n.GetCluster()}
	}
	return brief
}
