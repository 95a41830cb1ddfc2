package xds

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
)

// Limits on inspections: they cost what is looked at, and are for people.
const (
	maxInspections  = 4               // at once
	inspectionWait  = 5 * time.Second // for another to end
	inspectionTime  = time.Minute     // in which whoever asked has to take the answer
	inspectionBatch = 16              // clients that are asked at once
	maxFetch        = 64 << 20        // bytes of a unary answer

	// How long no writer of a batch answers until the rest is told without them. It halves each time, so that all such clients
	// together take a second, and a little for each batch.
	mostPatience  = 500 * time.Millisecond
	leastPatience = 20 * time.Millisecond
	stuckAfter    = 50 * time.Millisecond // in sending, for a writer not to be asked
)

// inspection is the answering of one request.
type inspection struct {
	server   *Server
	inquiry  inquiry
	redactor redactor
	patience time.Duration
	// emit takes a part of the answer. All configurations of one client come one after the other, with one client_scope.
	emit func(*statusv3.ClientConfig) error
}

// FetchClientStatus tells what clients have, in one message; gRPC calls it.
func (s *Server) FetchClientStatus(ctx context.Context, r *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	if err := s.admit(); err != nil {
		return nil, err
	}
	defer s.dismiss()
	response, size := &statusv3.ClientStatusResponse{}, 0
	err := s.inspect(ctx, r, func(c *statusv3.ClientConfig) error {
		if size += proto.Size(c); size > maxFetch {
			return status.Errorf(codes.ResourceExhausted, "the answer has more than %d MiB: ask for fewer clients, set exclude_resource_contents, or use StreamClientStatus", maxFetch>>20)
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

// StreamClientStatus tells what clients have, for each request in one or more messages of about 2 MiB; gRPC calls it. Whoever
// wants to know where the answer ends closes his side of the stream, which then ends with the answer.
func (s *Server) StreamClientStatus(stream statusStream) error {
	if err := s.admit(); err != nil {
		return err
	}
	late := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		defer s.dismiss()
		ended <- s.tellStatus(stream, late)
	}()
	// Returning ends the stream, and with it a send that is held up.
	select {
	case err := <-ended:
		return err
	case <-late:
		return status.Errorf(codes.DeadlineExceeded, "the answer was not taken within %v", inspectionTime)
	case <-s.ctx.Done():
		return errClosing
	}
}

// tellStatus answers requests until there are no more. It puts a token in late when an answer takes too long.
func (s *Server) tellStatus(stream statusStream, late chan<- struct{}) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		limit := time.AfterFunc(inspectionWait+inspectionTime, func() { late <- struct{}{} })
		err = s.answerStatus(stream, r)
		if !limit.Stop() || err != nil {
			return err
		}
	}
}

func (s *Server) answerStatus(stream statusStream, r *statusv3.ClientStatusRequest) error {
	response, size, sent := &statusv3.ClientStatusResponse{}, 0, 0
	flush := func() error {
		err := stream.Send(response)
		response, size, sent = &statusv3.ClientStatusResponse{}, 0, sent+1
		return err
	}
	err := s.inspect(stream.Context(), r, func(c *statusv3.ClientConfig) error {
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
func (s *Server) inspect(ctx context.Context, r *statusv3.ClientStatusRequest, emit func(*statusv3.ClientConfig) error) error {
	if err := s.permit(ctx, roleStatus, r.GetNode()); err != nil {
		return err
	}
	if err := s.incomplete(); err != nil {
		return err
	}
	asked, err := readInquiry(r)
	if err != nil {
		return err
	}
	turn := time.NewTimer(inspectionWait)
	defer turn.Stop()
	select {
	case s.inspections <- struct{}{}:
		defer func() { <-s.inspections }()
	case <-turn.C:
		return status.Errorf(codes.ResourceExhausted, "%d inspections are under way: try again when one has ended", maxInspections)
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	in := &inspection{server: s, inquiry: asked, redactor: newRedactor(), patience: mostPatience, emit: emit}
	if err := in.desired(); err != nil {
		return err
	}
	for batch := range slices.Chunk(s.matching(asked), inspectionBatch) {
		if err := ctx.Err(); err != nil {
			return status.FromContextError(err).Err()
		}
		if err := in.clients(batch); err != nil {
			return err
		}
	}
	return nil
}

// matching is the streams that are meant, in the order of roles and names.
func (s *Server) matching(q inquiry) []*stream {
	var found []*stream
	s.store.mu.Lock()
	for _, streams := range s.store.streams {
		for st := range streams {
			found = append(found, st)
		}
	}
	s.store.mu.Unlock()
	found = slices.DeleteFunc(found, func(st *stream) bool { return !q.meant(st.client) })
	slices.SortFunc(found, func(a, b *stream) int {
		return cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(a.client, b.client), cmp.Compare(a.seen.id, b.seen.id))
	})
	return found
}

// clients tells of some streams.
func (in *inspection) clients(batch []*stream) error {
	views := in.ask(batch)
	for _, st := range batch {
		if err := in.tell(st, views[st]); err != nil {
			return err
		}
	}
	return nil
}

// ask gets the views of all streams whose writers answer in time.
func (in *inspection) ask(batch []*stream) map[*stream]*view {
	answers := make(chan answer, len(batch))
	q := &question{counts: in.inquiry.counts, to: answers}
	defer q.abandoned.Store(true)
	open := map[*stream]bool{}
	for _, st := range batch {
		if since := st.seen.sending.Load(); since != 0 && time.Since(time.Unix(0, since)) > stuckAfter {
			continue
		}
		select {
		case st.seen.questions <- q:
			open[st] = true
		default: // what was asked before is not answered yet
		}
	}
	return in.gather(open, answers)
}

func (in *inspection) gather(open map[*stream]bool, answers <-chan answer) map[*stream]*view {
	views := make(map[*stream]*view, len(open))
	limit := time.NewTimer(in.patience)
	defer limit.Stop()
	check := time.NewTicker(10 * time.Millisecond)
	defer check.Stop()
	for len(open) > 0 {
		select {
		case a := <-answers:
			views[a.stream] = a.view
			delete(open, a.stream)
			limit.Reset(in.patience)
		case <-check.C:
			for st := range open {
				select {
				case <-st.seen.ended:
					delete(open, st)
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
