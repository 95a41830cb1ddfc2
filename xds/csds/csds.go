package csds

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/xds/session"
)

// Limits on inspections. They are for people, and an inspection costs what it looks at.
const (
	inspectionWait  = 5 * time.Second // for another to end
	inspectionTime  = time.Minute     // in which the caller has to take the answer
	inspectionBatch = 16              // streams that are asked at once
	maxFetch        = 64 << 20        // bytes of a unary answer
	maxMessage      = 2 << 20         // bytes of a streamed message; a single resource may be larger

	// How long an inspection waits for the next answer of a batch, before it goes on without the rest. It halves each time, so that all
	// such clients together take a second, and a little for each batch.
	mostPatience  = 500 * time.Millisecond
	leastPatience = 20 * time.Millisecond
	stuckAfter    = 50 * time.Millisecond // a stream whose owner is that long in sending is not asked
)

// Handler answers questions. Make it with New.
type Handler struct {
	statusv3.UnimplementedClientStatusDiscoveryServiceServer

	// Set once.
	gate        Gate
	source      Source
	inspections chan struct{} // holds a token for each inspection that is under way
}

// New makes a handler.
func New(gate Gate, source Source) *Handler {
	return &Handler{gate: gate, source: source, inspections: make(chan struct{}, maxInspections)}
}

// inspection is the answering of one request.
type inspection struct {
	source   Source
	inquiry  inquiry
	redactor redactor
	patience time.Duration
	// emit takes a part of the answer. All configurations of one client come one after the other, with one client_scope.
	emit func(*statusv3.ClientConfig) error
}

// FetchClientStatus answers what clients have, in one message; gRPC calls it.
func (h *Handler) FetchClientStatus(ctx context.Context, r *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	leave, err := h.gate.Enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	response, size := &statusv3.ClientStatusResponse{}, 0
	err = h.inspect(ctx, r, func(c *statusv3.ClientConfig) error {
		if size += proto.Size(c); size > maxFetch {
			return status.Errorf(codes.ResourceExhausted,
				"the answer has more than %d MiB: ask for fewer clients, set exclude_resource_contents, or use StreamClientStatus",
				maxFetch>>20)
		}
		response.Config = append(response.Config, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}

type statusStream = statusv3.ClientStatusDiscoveryService_StreamClientStatusServer

// StreamClientStatus answers what clients have, for each request in one or more messages of about 2 MiB; gRPC calls it. A caller that
// wants to know where the answer ends closes its side of the stream: then the stream ends with the answer.
func (h *Handler) StreamClientStatus(stream statusStream) error {
	leave, err := h.gate.Enter()
	if err != nil {
		return err
	}
	late := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		defer leave()
		ended <- h.answerAll(stream, late)
	}()
	closing, errClosing := h.gate.Closing()
	// gRPC ends the stream, and with it a send that is held up, when this returns.
	select {
	case err := <-ended:
		return err
	case <-late:
		return status.Errorf(codes.DeadlineExceeded, "the answer was not taken within %v", inspectionTime)
	case <-closing:
		return errClosing
	}
}

// answerAll answers requests until there are no more. It puts a token in late when an answer takes too long.
func (h *Handler) answerAll(stream statusStream, late chan<- struct{}) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		limit := time.AfterFunc(inspectionWait+inspectionTime, func() { late <- struct{}{} })
		err = h.answer(stream, r)
		if !limit.Stop() || err != nil {
			return err
		}
	}
}

func (h *Handler) answer(stream statusStream, r *statusv3.ClientStatusRequest) error {
	response, size, sent := &statusv3.ClientStatusResponse{}, 0, 0
	flush := func() error {
		err := stream.Send(response)
		response, size, sent = &statusv3.ClientStatusResponse{}, 0, sent+1
		return err
	}
	err := h.inspect(stream.Context(), r, func(c *statusv3.ClientConfig) error {
		more := proto.Size(c)
		if len(response.Config) > 0 && size+more > maxMessage {
			if err := flush(); err != nil {
				return err
			}
		}
		response.Config, size = append(response.Config, c), size+more
		return nil
	})
	if err == nil && (len(response.Config) > 0 || sent == 0) {
		err = flush()
	}
	return err
}

// inspect answers one request.
func (h *Handler) inspect(ctx context.Context, r *statusv3.ClientStatusRequest, emit func(*statusv3.ClientConfig) error) error {
	if err := h.gate.Permit(ctx, r.GetNode()); err != nil {
		return err
	}
	if err := h.source.Complete(); err != nil {
		return err
	}
	asked, err := readInquiry(r)
	if err != nil {
		return err
	}
	turn := time.NewTimer(inspectionWait)
	defer turn.Stop()
	select {
	case h.inspections <- struct{}{}:
		defer func() { <-h.inspections }()
	case <-turn.C:
		return status.Errorf(codes.ResourceExhausted, "%d inspections are under way: try again when one has ended", maxInspections)
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	in := &inspection{source: h.source, inquiry: asked, redactor: newRedactor(), patience: mostPatience, emit: emit}
	if err := in.desired(); err != nil {
		return err
	}
	for batch := range slices.Chunk(in.matching(), inspectionBatch) {
		if err := ctx.Err(); err != nil {
			return status.FromContextError(err).Err()
		}
		if err := in.clients(batch); err != nil {
			return err
		}
	}
	return nil
}

// matching is the clients that the request asks for, in the order of roles and names.
func (in *inspection) matching() []Client {
	found := slices.DeleteFunc(in.source.Clients(), func(c Client) bool { return !in.inquiry.matches(c.Identity().Node) })
	slices.SortFunc(found, func(a, b Client) int {
		i, j := a.Identity(), b.Identity()
		return cmp.Or(cmp.Compare(i.Role, j.Role), cmp.Compare(i.Node, j.Node), cmp.Compare(i.Stream, j.Stream))
	})
	return found
}

// clients answers for some clients.
func (in *inspection) clients(batch []Client) error {
	views := in.ask(batch)
	for _, c := range batch {
		if err := in.client(c, views[c]); err != nil {
			return err
		}
	}
	return nil
}

// ask gets the views of all clients whose streams' owners answer in time.
func (in *inspection) ask(batch []Client) map[Client]*session.View {
	answers := make(chan answer, len(batch))
	q := &Question{counts: in.inquiry.counts, to: answers}
	defer q.abandoned.Store(true)
	open := map[Client]bool{}
	for _, c := range batch {
		if since := c.Facts().Sending; !since.IsZero() && time.Since(since) > stuckAfter {
			continue
		}
		if c.Ask(q) {
			open[c] = true
		}
	}
	return in.gather(open, answers)
}

func (in *inspection) gather(open map[Client]bool, answers <-chan answer) map[Client]*session.View {
	views := make(map[Client]*session.View, len(open))
	limit := time.NewTimer(in.patience)
	defer limit.Stop()
	check := time.NewTicker(10 * time.Millisecond)
	defer check.Stop()
	for len(open) > 0 {
		select {
		case a := <-answers:
			views[a.client] = a.view
			delete(open, a.client)
			limit.Reset(in.patience)
		case <-check.C:
			for c := range open {
				select {
				case <-c.Ended():
					delete(open, c)
				default:
				}
			}
		case <-limit.C:
			in.patience = max(in.patience/2, leastPatience)
			return views
		}
	}
	return views
}
