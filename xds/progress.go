package xds

import (
	"context"
	"time"
)

// progress reports who the clients of each role are, how far they are, and what they refuse. It offers again what waits.
type progress struct {
	store   *store
	wait    time.Duration
	report  func(Progress)
	clients func(uint8, []Node)
	wake    chan struct{}
	last    [roleCount]Progress
	known   [roleCount]known

	refused        func([]Refusal)
	refusals       []Refusal // told last
	refusalChanges uint64
}

func newProgress(s *store, o Options) *progress {
	p := &progress{store: s, wait: o.Wait, report: o.Progress, clients: o.Clients, refused: o.Refused, wake: make(chan struct{}, 1)}
	for role := range roles(RoleGateway | RoleActivator | RoleMesh) {
		p.last[roleIndex(role)].Role = role
	}
	return p
}

// signal says that something may have moved; it never blocks.
func (p *progress) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *progress) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-p.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		p.lookAround()
		began := time.Now()
		found, pause := p.look(began)
		took := time.Since(began)
		for i := range found {
			if found[i] != p.last[i] {
				p.last[i] = found[i]
				p.report(found[i])
			}
		}
		timer.Reset(p.store.decide(time.Now(), pause))
		p.lookForRefusals()
		if took < dear {
			continue
		}
		select {
		case <-time.After(4 * took):
		case <-ctx.Done():
			return
		}
	}
}

// dear is how long a look may take before there is a pause after it: it holds the store, and thousands of clients that do not
// answer must not cost the others more than a part of the time.
const dear = 200 * time.Microsecond

// look finds how far each role is, and in how much time one more client counts as silent.
func (p *progress) look(now time.Time) (found [roleCount]Progress, pause time.Duration) {
	pause = time.Hour
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	for i, streams := range p.store.streams {
		found[i] = Progress{Role: 1 << i, Seq: p.last[i].Seq, Clients: len(streams)}
		if len(streams) == 0 {
			continue // nobody has what is made known now, and who comes back has what there was
		}
		found[i].Seq = p.store.inForce(1<<i, p.store.seq)
		for st := range p.store.lagging[i] {
			// Whole numbers, for with thousands of clients this is most of what a change costs.
			left := p.wait - time.Duration(now.UnixNano()-max(st.behindSince.UnixNano(), st.heard.Load()))
			if left <= 0 {
				continue // silent
			}
			pause = min(pause, left)
			found[i].Seq = min(found[i].Seq, st.behind-1)
		}
		found[i].Seq = max(found[i].Seq, p.last[i].Seq)
	}
	return found, pause
}
