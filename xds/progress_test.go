package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// reached waits until a role's clients are at a state, and fails if they are past the limit before.
func reached(t *testing.T, moved <-chan resource.Progress, role uint8, seq uint64) {
	t.Helper()
	for {
		select {
		case p := <-moved:
			if p.Role == role && p.Seq == seq {
				return
			}
			if p.Role == role && p.Seq > seq {
				t.Fatalf("clients are said to be at %d already, want %d", p.Seq, seq)
			}
		case <-time.After(patience):
			t.Fatalf("clients are never said to be at %d", seq)
		}
	}
}

func TestProgressIsWhatAllClientsOfARoleHaveAnswered(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 1000)
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
		reached(t, moved, contract.RoleGateway, 1)
		second := r.connect(t, p, "gateway")
		second.subscribe(resource.EndpointType, "a")
		second.take(resource.EndpointType, "a")
		second.quiet()

		r.connect(t, p, "mesh").quiet() // it is subscribed to nothing

		// A state that no client is subscribed to is reached at once.
		seq := r.set(endpoints("other", ""))
		reached(t, moved, contract.RoleGateway, seq)

		seq = r.set(endpoints("a", "2"))
		reached(t, moved, contract.RoleMesh, seq)
		c.take(resource.EndpointType, "a")
		c.quiet() // its acknowledgement has arrived, so a NACK rolls nothing back
		late := second.expect(resource.EndpointType, "a")
		seq = r.set(endpoints("other", "2")) // reported only for roles that are not behind
		reached(t, moved, contract.RoleMesh, seq)
		second.nack(late, "rejected is answered")
		reached(t, moved, contract.RoleGateway, seq)

		// A client that has left holds nothing up.
		seq = r.set(endpoints("a", "3"))
		c.take(resource.EndpointType, "a")
		second.cut()
		reached(t, moved, contract.RoleGateway, seq)
	})
}

// A state that is applied while no client is connected has reached none, though none held it up: a gateway that comes back has the
// state that it had.
func TestStatesThatPassWithoutClientsAreNotReached(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 1000)
		r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
		r.set(endpoints("a", "1"))
		seq := r.set(endpoints("a", "2"))
		r.set(endpoints("other", "1"))
		r.set(endpoints("other", "2"))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		late := c.expect(resource.EndpointType, "a")
		c.quiet()
		notReached(t, moved, seq)
		c.ack(late)
		reached(t, moved, contract.RoleGateway, seq+2)
	})
}

// A client that has just connected may have more types to subscribe to, and has nothing of them.
func TestClientThatHasJustConnectedHasNothing(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 1000)
		r := serve(t, xds.Options{Settle: time.Hour, Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
		seq := r.set(endpoints("a", ""), cluster("a", ""), routes("http", "a"))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
		c.quiet()
		notReached(t, moved, seq)
	})
}

// notReached fails if gateways are reported to be at a state.
func notReached(t *testing.T, moved <-chan resource.Progress, seq uint64) {
	t.Helper()
	for len(moved) > 0 {
		if got := <-moved; got.Role == contract.RoleGateway && got.Seq >= seq {
			t.Fatalf("clients are said to be at %d", got.Seq)
		}
	}
}

func TestSilentClientIsLeftOutOfProgress(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 1000)
		r := serve(t, xds.Options{Wait: 50 * time.Millisecond, Progress: func(p resource.Progress) { moved <- p }})
		seq := r.set(endpoints("a", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		c.expect(resource.EndpointType, "a")
		reached(t, moved, contract.RoleGateway, seq)
		seq = r.set(endpoints("a", "2"))
		reached(t, moved, contract.RoleGateway, seq)
	})
}

// A client that has just connected keeps removed resources for a moment, and has not reached the state until then.
func TestProgressWaitsForARemovalFromAClientThatHasJustConnected(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 1000)
		r := serve(t, xds.Options{Settle: 100 * time.Millisecond, Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
		r.set(cluster("a", ""), cluster("b", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "a", "b")
		seq := r.Apply(resource.Update{Removed: []*resource.Resource{cluster("a", "")}})
		gone := c.next()
		for len(moved) > 0 {
			if got := <-moved; got.Role == contract.RoleGateway && got.Clients > 0 && got.Seq >= seq {
				t.Errorf("clients are said to be at %d before one has answered", got.Seq)
			}
		}
		c.ack(gone)
		reached(t, moved, contract.RoleGateway, seq)
	})
}
