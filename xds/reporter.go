package xds

import (
	"cmp"
	"context"
	"slices"
	"time"

	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// reporter reports to the caller who the clients of each role are, how far they are, and what they NACK. It also calls
// session.Hub.Tick.
type reporter struct {
	// Set once.
	progress func(resource.Progress)
	clients  func(uint8, []resource.Node)
	rejected func([]resource.Rejection)
	wake     chan struct{}

	// Only the goroutine of run: what was reported last.
	last             session.Progress
	nodes            [resource.RoleCount][]resource.Node
	nodeChanges      [resource.RoleCount]uint64
	rejections       []resource.Rejection
	rejectionChanges uint64
}

func newReporter(o Options) *reporter {
	p := &reporter{progress: o.Progress, clients: o.Clients, rejected: o.Rejected, wake: make(chan struct{}, 1)}
	for role := range resource.EachRole(resource.AllRoles) {
		p.last[resource.RoleIndex(role)].Role = role
	}
	return p
}

// signal says that something may have changed; it never blocks.
func (p *reporter) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// slowLook is how long a look may take before the reporter pauses after it. A look holds the hub's mutex, and thousands of clients
// that do not answer must cost the others only a part of the time.
const slowLook = 200 * time.Microsecond

func (p *reporter) run(ctx context.Context, hub *session.Hub) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-p.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		p.reportClients(hub)
		began := time.Now()
		found, next := hub.Look(p.last, began)
		took := time.Since(began)
		p.reportProgress(found)
		timer.Reset(until(next, hub.Tick(time.Now())))
		p.reportRejections(hub)
		if took < slowLook {
			continue
		}
		select {
		case <-time.After(4 * took):
		case <-ctx.Done():
			return
		}
	}
}

// until is how long it is to the earliest of some moments; the zero time is none.
func until(moments ...time.Time) time.Duration {
	pause := time.Hour
	for _, at := range moments {
		if !at.IsZero() {
			pause = min(pause, time.Until(at))
		}
	}
	return pause
}

// reportProgress reports the roles whose progress has changed.
func (p *reporter) reportProgress(found session.Progress) {
	for i := range found {
		if found[i] != p.last[i] {
			p.last[i] = found[i]
			p.progress(found[i])
		}
	}
}

// reportClients reports the roles whose set of clients has changed.
func (p *reporter) reportClients(hub *session.Hub) {
	for i := range p.nodes {
		nodes, changes := hub.Nodes(1<<i, p.nodeChanges[i])
		if changes == p.nodeChanges[i] {
			continue
		}
		p.nodeChanges[i] = changes
		slices.SortFunc(nodes, func(a, b resource.Node) int {
			return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Address, b.Address))
		})
		nodes = slices.Compact(nodes)
		if slices.Equal(nodes, p.nodes[i]) {
			continue
		}
		p.nodes[i] = nodes
		p.clients(1<<i, slices.Clone(nodes))
	}
}

// reportRejections reports what clients NACK if that has changed.
func (p *reporter) reportRejections(hub *session.Hub) {
	found, changes := hub.Rejections(p.rejectionChanges)
	if changes == p.rejectionChanges {
		return
	}
	p.rejectionChanges = changes
	if slices.Equal(found, p.rejections) {
		return
	}
	p.rejections = found
	p.rejected(slices.Clone(found))
}
