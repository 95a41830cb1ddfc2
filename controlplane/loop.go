// Package controlplane is the loop between an adapter and the data plane: it takes the newest World, has it
// translated, publishes what changed over xDS, and tells the adapter which problems were found, which resources
// clients refuse, and which World every gateway has acknowledged. It knows neither Kubernetes nor any Envoy resource by its content.
package controlplane

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds/resource"
)

// Options are what a Loop reports to. None of the functions may block for long: the loop waits for them.
type Options struct {
	Logger hclog.Logger
	// Publish makes a change known to the clients and returns the sequence number of the state after it.
	Publish func(resource.Update) uint64
	// Problems gets all problems of the newest World, and after them what clients refuse of it, whenever they were
	// computed anew.
	Problems func([]model.Problem)
	// Programmed is called with the generation of a World once every connected gateway has acknowledged it,
	// or a newer one.
	Programmed func(generation uint64)
	// Reached is called with the generation of a World once every connected client that sends requests somewhere, gateways
	// and gRPC clients alike, has acknowledged it, or a newer one. While none is connected nothing is reached: one that
	// is away may still send requests where it did.
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

// clients is how far the clients of each role are. Those that only take requests are not waited for.
type clients struct{ gateway, activator, mesh resource.Progress }

// New makes a Loop; Run starts it.
func New(o Options) *Loop {
	return &Loop{options: o, wake: make(chan struct{}, 1)}
}

// Offer hands over a World. When the loop is busy only the newest is kept: a World contains all there is, so
// nothing is lost by skipping one.
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
	case resource.RoleGateway:
		l.clients.gateway = p
	case resource.RoleActivator:
		l.clients.activator = p
	case resource.RoleMesh:
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

// maxWaiting bounds what is remembered of Worlds that no gateway has acknowledged yet.
const maxWaiting = 1024

// published is a World that has been sent, and the sequence number that stands for it.
type published struct{ seq, generation uint64 }

// state is what Run owns.
type state struct {
	output  *translator.Output
	seq     uint64
	refused refused
	// programmed waits for the gateways, reached for all who send requests.
	programmed, reached milestone
}

// milestone is a kind of progress that somebody is told of.
type milestone struct {
	waiting []published // in the order of sending, so that a later entry implies the ones before it
	told    uint64      // generation
}

func (m *milestone) add(p published) {
	m.waiting = append(m.waiting, p)
	if len(m.waiting) > maxWaiting {
		m.waiting = m.waiting[1:] // a later entry implies this one
	}
}

// pass tells of the newest World that everybody has who is concerned.
func (m *milestone) pass(seq uint64, tell func(generation uint64)) {
	done := uint64(0)
	for len(m.waiting) > 0 && m.waiting[0].seq <= seq {
		done, m.waiting = m.waiting[0].generation, m.waiting[1:]
	}
	if done > m.told {
		m.told = done
		tell(done)
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
		news := s.refused.take(refusals, progress)
		if world != nil {
			l.publish(&s, world)
		} else if news && s.output != nil {
			l.tell(&s)
		}
		l.report(&s, progress)
	}
}

func (l *Loop) publish(s *state, w *model.World) {
	next := translator.Translate(w, s.output)
	set, removed := translator.Diff(s.output, next)
	first := s.output == nil
	s.output = next
	l.tell(s)
	// Even an empty first World is published: until then the server answers nobody.
	if first || len(set)+len(removed) > 0 {
		s.seq = l.options.Publish(resource.Update{Set: resources(set), Removed: resources(removed)})
		l.options.Logger.Debug("published", "generation", w.Generation, "sequence", s.seq, "set", len(set), "removed", len(removed))
	}
	at := published{s.seq, w.Generation}
	s.programmed.add(at)
	s.reached.add(at)
}

// tell hands over what is wrong with the newest World, and what clients make of it.
func (l *Loop) tell(s *state) {
	l.options.Problems(append(slices.Clip(s.output.Problems), s.refused.problems(s.output)...))
}

func (l *Loop) report(s *state, c clients) {
	// A Route is not programmed while no gateway is connected: they are what a request meets first.
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
