// Package controlplane is the loop between an adapter and the data plane. It translates the newest World, publishes what
// changed over xDS, and reports to the adapter: which problems the translation found, which resources clients reject, and
// which World every gateway has acknowledged. It knows neither Kubernetes nor the content of any Envoy resource.
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
	// Publish sends a change to the clients and returns the sequence number of the state after it.
	Publish func(resource.Update) uint64
	// Problems gets all problems of the newest World, followed by the resources of it that clients reject, whenever
	// either may have changed.
	Problems func([]model.Problem)
	// Programmed is called with the generation of a World once every connected gateway has acknowledged it,
	// or a newer one.
	Programmed func(generation uint64)
	// Reached is called with the generation of a World once every connected client that routes requests, gateways and
	// gRPC clients alike, has acknowledged it, or a newer one. While no such client is connected it is not called: a
	// client without a stream may still send requests by an older World.
	Reached func(generation uint64)
}

// Loop turns Worlds into published resources. Offer, Acknowledge and Reject may be called from any goroutine; only Run
// uses the rest of the state, which is its local variable.
type Loop struct {
	// Set once, by New.
	options Options
	wake    chan struct{}

	mu sync.Mutex
	// Guarded by mu: mailboxes, each of which keeps only the newest value.
	newest     *model.World
	clients    clients
	rejections []resource.Rejection
}

// clients is the progress of the clients of each role.
type clients struct{ gateway, activator, mesh resource.Progress }

// New makes a Loop; Run starts it.
func New(o Options) *Loop {
	return &Loop{options: o, wake: make(chan struct{}, 1)}
}

// Offer passes a World to the loop. While the loop is busy it keeps only the newest World: each World is complete, so
// nothing is lost when the loop skips one.
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

// Reject takes all resources that clients reject at the moment. The loop keeps the slice.
func (l *Loop) Reject(rejections []resource.Rejection) {
	l.mu.Lock()
	l.rejections = rejections
	l.mu.Unlock()
	l.signal()
}

func (l *Loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// maxWaiting bounds how many Worlds a milestone waits for.
const maxWaiting = 1024

// published is a World that has been sent, and the sequence number that stands for it.
type published struct{ seq, generation uint64 }

// state belongs to Run alone.
type state struct {
	output   *translator.Output
	seq      uint64
	rejected rejected
	// programmed waits for the gateways, reached for all clients that route requests.
	programmed, reached milestone
}

// milestone reports the newest generation that all clients of a kind have acknowledged.
type milestone struct {
	waiting  []published // in the order of sending, so that a later entry implies the ones before it
	reported uint64      // generation
}

func (m *milestone) add(p published) {
	m.waiting = append(m.waiting, p)
	if len(m.waiting) > maxWaiting {
		m.waiting = m.waiting[1:] // a later entry implies this one
	}
}

// pass reports the newest World up to seq, unless it was reported before.
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
		world, progress, rejections := l.newest, l.clients, l.rejections
		l.newest = nil
		l.mu.Unlock()
		changed := s.rejected.take(rejections, progress)
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
	// Even an empty first World is published: until then the server answers no client.
	if first || len(set)+len(removed) > 0 {
		s.seq = l.options.Publish(resource.Update{Set: resources(set), Removed: resources(removed)})
		l.options.Logger.Debug("published", "generation", w.Generation, "sequence", s.seq, "set", len(set), "removed", len(removed))
	}
	at := published{s.seq, w.Generation}
	s.programmed.add(at)
	s.reached.add(at)
}

func (l *Loop) reportProblems(s *state) {
	l.options.Problems(append(slices.Clip(s.output.Problems), s.rejected.problems(s.output)...))
}

func (l *Loop) reportProgress(s *state, c clients) {
	// While no gateway is connected no Route is programmed: nothing could take its requests.
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

// resources converts the type and nothing else. The packages translator and xds must not import each other; the compiler
// checks here that their Resources have the same layout.
func resources(in []*translator.Resource) []*resource.Resource {
	out := make([]*resource.Resource, len(in))
	for i, r := range in {
		out[i] = (*resource.Resource)(r)
	}
	return out
}
