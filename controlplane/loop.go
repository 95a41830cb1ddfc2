// Package controlplane is the loop between an adapter and the data plane: it takes the newest World, has it
// translated, publishes what changed over xDS, and tells the adapter which problems were found and which
// World every gateway has acknowledged. It knows neither Kubernetes nor any Envoy resource by its content.
package controlplane

import (
	"context"
	"sync"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
)

// Options are what a Loop reports to. None of the functions may block for long: the loop waits for them.
type Options struct {
	Logger hclog.Logger
	// Publish makes a change known to the clients and returns the sequence number of the state after it.
	Publish func(xds.Update) uint64
	// Problems gets all problems of the newest World whenever they were computed anew.
	Problems func([]model.Problem)
	// Programmed is called with the generation of a World once every connected gateway has acknowledged it,
	// or a newer one.
	Programmed func(generation uint64)
}

// Loop turns Worlds into published resources. Offer and Acknowledge may be called from any goroutine; the
// state behind them belongs to Run alone.
type Loop struct {
	options Options
	wake    chan struct{}

	mu      sync.Mutex // guards the two mailboxes, each of which holds only the newest value
	newest  *model.World
	gateway xds.Progress
}

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

// Acknowledge takes the progress of a role's clients. Only gateways decide when a World counts as programmed:
// they are what a request meets first.
func (l *Loop) Acknowledge(p xds.Progress) {
	if p.Role != xds.RoleGateway {
		return
	}
	l.mu.Lock()
	l.gateway = p
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
	output     *translator.Output
	seq        uint64
	waiting    []published // in the order of sending, so that a later entry implies the ones before it
	programmed uint64
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
		world, progress := l.newest, l.gateway
		l.newest = nil
		l.mu.Unlock()
		if world != nil {
			l.publish(&s, world)
		}
		l.report(&s, progress)
	}
}

func (l *Loop) publish(s *state, w *model.World) {
	next := translator.Translate(w, s.output)
	set, removed := translator.Diff(s.output, next)
	first := s.output == nil
	s.output = next
	l.options.Problems(next.Problems)
	// Even an empty first World is published: until then the server answers nobody.
	if first || len(set)+len(removed) > 0 {
		s.seq = l.options.Publish(xds.Update{Set: resources(set), Removed: resources(removed)})
		l.options.Logger.Debug("published", "generation", w.Generation, "sequence", s.seq, "set", len(set), "removed", len(removed))
	}
	s.waiting = append(s.waiting, published{s.seq, w.Generation})
	if len(s.waiting) > maxWaiting {
		s.waiting = s.waiting[1:] // a later entry implies this one
	}
}

func (l *Loop) report(s *state, gateway xds.Progress) {
	if gateway.Clients == 0 {
		return // nobody has anything: a Route is not programmed while no gateway is connected
	}
	done := uint64(0)
	for len(s.waiting) > 0 && s.waiting[0].seq <= gateway.Seq {
		done, s.waiting = s.waiting[0].generation, s.waiting[1:]
	}
	if done > s.programmed {
		s.programmed = done
		l.options.Programmed(done)
	}
}

// resources changes the type and nothing else: translator and xds may not know each other, and their
// Resource has the same layout, which the compiler checks here.
func resources(in []*translator.Resource) []*xds.Resource {
	out := make([]*xds.Resource, len(in))
	for i, r := range in {
		out[i] = (*xds.Resource)(r)
	}
	return out
}
