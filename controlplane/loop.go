// Package controlplane is the loop between an adapter and the data plane. It takes the newest World, has it translated and publishes the
// changes over xDS. It reports to the adapter which problems were found, which resources clients NACK, and which World every gateway has
// acknowledged. It must not know Kubernetes, or the content of any Envoy resource.
package controlplane

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/resource"
)

// Options are what a Loop reports to. None of the functions may block for long: the loop waits for them.
type Options struct {
	Logger hclog.Logger
	// Publish makes a change known to the clients and returns the sequence number of the state after it.
	Publish func(resource.Update) uint64
	// Problems gets all problems of the newest World, and after them its resources that clients NACK, whenever they were computed
	// again.
	Problems func([]model.Problem)
	// Programmed is called with the generation of a World once every connected gateway has acknowledged it,
	// or a newer one.
	Programmed func(generation uint64)
	// Reached is called with the generation of a World once every connected gateway and gRPC client has acknowledged it, or a newer
	// one. It is not called while none is connected: a disconnected client may still send requests by an older World.
	Reached func(generation uint64)
}

// Loop turns Worlds into published resources. Offer, Acknowledge and Refuse may be called from any goroutine; the
// state behind them belongs to Run alone.
type Loop struct {
	options Options
	wake    chan struct{}

	mu       sync.Mutex // guards the mailboxes, each of which holds only the newest value
	newest   *model.World
	clients  clients
	refusals []resource.Refusal
}

// clients is the progress of the clients of each role. The loop does not wait for activators, which only receive requests.
type clients struct{ gateway, activator, mesh resource.Progress }

// New makes a Loop; Run starts it.
func New(o Options) *Loop {
	return &Loop{options: o, wake: make(chan struct{}, 1)}
}

// Offer hands over a World. While the loop is busy it keeps the newest one only: a World is complete, so that one can be skipped.
func (l *Loop) Offer(w *model.World) {
	l.mu.Lock()
	l.newest = w
	l.mu.Unlock()
	l.signal()
}

// Acknowledge takes the progress of a role's clients.
func (l *Loop) Acknowledge(p resource.Progress) {
	l.mu.Lock()
	switch p.Role {
	case contract.RoleGateway:
		l.clients.gateway = p
	case contract.RoleActivator:
		l.clients.activator = p
	case contract.RoleMesh:
		l.clients.mesh = p
	}
	l.mu.Unlock()
	l.signal()
}

// Refuse takes all that clients refuse now. The loop keeps the slice.
func (l *Loop) Refuse(refusals []resource.Refusal) {
	l.mu.Lock()
	l.refusals = refusals
	l.mu.Unlock()
	l.signal()
}

func (l *Loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// maxWaiting bounds the number of Worlds that await an acknowledgement.
const maxWaiting = 1024

// published is a World that has been sent, and the sequence number that stands for it.
type published struct{ seq, generation uint64 }

// state is only for the goroutine of Run.
type state struct {
	output  *translator.Output
	seq     uint64
	refused refused
	// programmed waits for gateways, reached for gateways and gRPC clients.
	programmed, reached milestone
}

// milestone is a kind of progress that is reported.
type milestone struct {
	waiting  []published // in the order of publication, so that a later entry implies the ones before it
	reported uint64      // the last generation
}

func (m *milestone) add(p published) {
	m.waiting = append(m.waiting, p)
	if len(m.waiting) > maxWaiting {
		m.waiting = m.waiting[1:] // a later entry implies this one
	}
}

// pass reports the newest World with a sequence number of at most seq, which all clients concerned have acknowledged.
func (m *milestone) pass(seq uint64, report func(generation uint64)) {
	done := uint64(0)
	for len(m.waiting) > 0 && m.waiting[0].seq <= seq {
		done, m.waiting = m.waiting[0].generation, m.waiting[1:]
	}
	if done > m.reported {
		m.reported = done
		report(done)
	}
}

// Run works until the context ends.
func (l *Loop) Run(ctx context.Context) {
	var s state
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		world, progress, refusals := l.newest, l.clients, l.refusals
		l.newest = nil
		l.mu.Unlock()
		changed := s.refused.take(refusals, progress)
		if world != nil {
			l.publish(&s, world)
		} else if changed && s.output != nil {
			l.reportProblems(&s)
		}
		l.reportProgress(&s, progress)
	}
}

func (l *Loop) publish(s *state, w *model.World) {
	next := translator.Translate(w, s.output)
	set, removed := translator.Diff(s.output, next)
	first := s.output == nil
	s.output = next
	l.reportProblems(s)
	// Even an empty first World is published: until then the server answers nobody.
	if first || len(set)+len(removed) > 0 {
		s.seq = l.options.Publish(resource.Update{Set: resources(set), Removed: resources(removed)})
		l.options.Logger.Debug("published", "generation", w.Generation, "sequence", s.seq, "set", len(set), "removed", len(removed))
	}
	at := published{s.seq, w.Generation}
	s.programmed.add(at)
	s.reached.add(at)
}

// reportProblems reports the problems of the newest World, and its resources that clients NACK.
func (l *Loop) reportProblems(s *state) {
	l.options.Problems(append(slices.Clip(s.output.Problems), s.refused.problems(s.output)...))
}

// reportProgress reports the newest Worlds that clients have acknowledged.
func (l *Loop) reportProgress(s *state, c clients) {
	// A Route is not programmed while no gateway is connected, because requests arrive there.
	if c.gateway.Clients > 0 {
		s.programmed.pass(c.gateway.Seq, l.options.Programmed)
	}
	switch {
	case c.gateway.Clients > 0 && c.mesh.Clients > 0:
		s.reached.pass(min(c.gateway.Seq, c.mesh.Seq), l.options.Reached)
	case c.gateway.Clients > 0:
		s.reached.pass(c.gateway.Seq, l.options.Reached)
	case c.mesh.Clients > 0:
		s.reached.pass(c.mesh.Seq, l.options.Reached)
	}
}

// resources changes the type and nothing else: translator and xds may not know each other, and their
// Resource has the same layout, which the compiler checks here.
func resources(in []*translator.Resource) []*resource.Resource {
	out := make([]*resource.Resource, len(in))
	for i, r := range in {
		out[i] = (*resource.Resource)(r)
	}
	return out
}
