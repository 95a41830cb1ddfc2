package xds_test

import (
	"sync/atomic"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// gets checks that a client which connects now is sent this content of a name.
func (r *rig) gets(t *testing.T, p *protocol, role string, want *resource.Resource) {
	t.Helper()
	c := r.connect(t, p, role)
	c.subscribe(want.Type, want.Name)
	if got := c.expect(want.Type, want.Name); !cmp.Equal(got.Set[want.Name], want.Body) {
		t.Fatalf("a client that connects is sent another content of %s", want.Name)
	}
	c.cut()
}

// taking connects a client that has acknowledged assignments.
func (r *rig) taking(t *testing.T, p *protocol, role, id string, names ...string) *raw {
	t.Helper()
	c := r.connect(t, p, role)
	c.node.Id = id
	c.subscribe(resource.EndpointType, names...)
	c.take(resource.EndpointType, names...)
	c.quiet()
	return c
}

func TestNackedCandidateIsRolledBackForTheRole(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		before, after := endpoints("a", "1"), endpoints("a", "2")
		r.set(before, endpoints("b", "1"))
		first := r.taking(t, p, "gateway", "1", "a", "b")
		second := r.taking(t, p, "gateway", "2", "a", "b")
		mesh := r.taking(t, p, "mesh", "3", "a")

		r.set(after)
		mesh.take(resource.EndpointType, "a")
		late := second.expect(resource.EndpointType, "a")
		first.nack(first.expect(resource.EndpointType, "a"), "a: no")
		second.nack(late, "a: no")
		first.quiet() // it has the last good content
		second.quiet()
		r.gets(t, p, "gateway", before)
		r.gets(t, p, "mesh", after)

		// Everything else goes on.
		r.set(endpoints("b", "2"))
		first.take(resource.EndpointType, "b")
		second.take(resource.EndpointType, "b")

		// Better content is sent to all.
		r.set(endpoints("a", "3"))
		first.take(resource.EndpointType, "a")
		second.take(resource.EndpointType, "a")
		first.quiet()
		second.quiet()
	})
}

func TestContentThatAnotherClientAcknowledgesIsNotRolledBack(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		before, after := endpoints("a", "1"), endpoints("a", "2")
		r.set(before)
		first := r.taking(t, p, "gateway", "1", "a")
		second := r.taking(t, p, "gateway", "2", "a")
		r.set(after)
		late := second.expect(resource.EndpointType, "a")
		first.nack(first.expect(resource.EndpointType, "a"), "no")
		first.quiet()
		r.gets(t, p, "gateway", after) // the other client has yet to answer
		second.ack(late)
		second.quiet()
		r.gets(t, p, "gateway", after)
		first.quiet() // nothing has changed for it
	})
}

// One client that NACKs the routes does not withhold them from others, whether these were sent them already or not.
func TestStateIsNotInForceWhileItsRoutesAreRolledBack(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		var seq atomic.Uint64
		r, first := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour, Progress: func(p resource.Progress) {
			if p.Role == contract.RoleGateway {
				seq.Store(p.Seq)
			}
		}})
		start := r.Stats().Seq
		eventually(t, "the first state is in force", func() bool { return seq.Load() == start })
		r.set(routes("http", "a", "x"))
		first.nack(first.expect(resource.RouteType, "http"), "no")
		first.quiet()
		later := r.set(endpoints("a", "later"))
		first.take(resource.EndpointType, "a")
		first.quiet()
		if got := seq.Load(); got != start {
			t.Errorf("state %d is in force, though its routes were rolled back after %d", got, start)
		}
		r.set(routes("http", "a", "y"))
		first.take(resource.RouteType, "http")
		eventually(t, "all is in force", func() bool { return seq.Load() > later })
	})
}

func TestClientThatNacksEverythingRollsNothingBack(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		r.set(endpoints("a", "1"))
		hostile := r.connect(t, p, "gateway")
		hostile.subscribe(resource.EndpointType, "a")
		hostile.nack(hostile.expect(resource.EndpointType, "a"), "no")
		r.gets(t, p, "gateway", endpoints("a", "1")) // content without a last good version is not rolled back
		r.set(endpoints("a", "2"))
		hostile.nack(hostile.expect(resource.EndpointType, "a"), "no")
		hostile.quiet()
		good := r.taking(t, p, "gateway", "good", "a")
		r.set(endpoints("a", "3"))
		hostile.nack(hostile.expect(resource.EndpointType, "a"), "no")
		hostile.quiet()
		r.gets(t, p, "gateway", endpoints("a", "3"))
		good.take(resource.EndpointType, "a")
		good.quiet()
	})
}

func TestContentIsRetriedWhenTheClientsThatNackedItHaveLeft(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		before, after := endpoints("a", "1"), endpoints("a", "2")
		r.set(before)
		first := r.taking(t, p, "gateway", "1", "a")
		r.set(after)
		first.nack(first.expect(resource.EndpointType, "a"), "no")
		first.quiet()
		second := r.connect(t, p, "gateway")
		second.subscribe(resource.EndpointType, "a")
		second.take(resource.EndpointType, "a")
		first.cut()
		again := second.expect(resource.EndpointType, "a")
		if !cmp.Equal(again.Set["a"], after.Body) {
			t.Fatal("it is not retried")
		}

		// Content that was rolled back once is rolled back for any client that NACKs it: this client is new and has nothing yet.
		third := r.connect(t, p, "gateway")
		third.subscribe(resource.EndpointType, "a")
		third.nack(third.expect(resource.EndpointType, "a"), "no")
		if got := third.take(resource.EndpointType, "a"); !cmp.Equal(got.Set["a"], before.Body) {
			t.Error("a client that NACKs the rolled back content does not get the last good one")
		}
	})
}

// Rolled back routes lead to clusters that the newest state does not have.
func TestClustersOfRolledBackRoutesStay(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, first := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(moveToB())
		first.ack(first.next())
		first.subscribe(resource.EndpointType, "b")
		first.take(resource.EndpointType, "b")
		first.nack(first.expect(resource.RouteType, "http"), "no")
		first.quiet()

		second := r.connect(t, p, "gateway")
		second.subscribe(resource.ClusterType)
		second.take(resource.ClusterType, "a", "b")
		second.subscribe(resource.EndpointType, "a", "b")
		second.take(resource.EndpointType, "a", "b")
		second.subscribe(resource.RouteType, "http")
		if got := clustersOf(second.take(resource.RouteType, "http").Set["http"]); !cmp.Equal(got, []string{"a"}) {
			t.Errorf("routes of a client that connects lead to %v", got)
		}
		second.quiet()

		// What is removed in the meantime stays too, because the routes in force may need it.
		r.Apply(resource.Update{Removed: []*resource.Resource{cluster("b", ""), endpoints("b", "")}})
		first.quiet()
		second.quiet()

		r.set(routes("http"))
		for _, c := range []*raw{first, second} {
			c.take(resource.RouteType, "http")
			if p == delta {
				c.gone(resource.EndpointType, "a", "b")
				c.gone(resource.ClusterType, "a", "b")
			} else {
				c.take(resource.ClusterType)
			}
			c.quiet()
		}
		if got := r.Stats().Resources; got != 2*3 { // listener and routes, of three roles
			t.Errorf("%d resources are left, want 6", got)
		}
	})
}

// A control plane that has restarted learns from its reconnecting clients which content they have acknowledged.
func TestContentThatAClientReconnectsWithIsLastGood(t *testing.T) {
	for name, names := range map[string][]string{"by name": {"a"}, "everything": {"*"}, "everything, as before": nil} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, xds.Options{Settle: time.Nanosecond})
			before, after := cluster("a", "1"), cluster("a", "2")
			r.set(before)
			c := r.connect(t, delta, "gateway")
			c.must(c.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
				Node: c.node, TypeUrl: resource.ClusterType, ResourceNamesSubscribe: names,
				InitialResourceVersions: map[string]string{"a": before.Version},
			}))
			c.node = nil
			c.quiet()
			r.set(after)
			c.nack(c.expect(resource.ClusterType, "a"), "no")
			c.quiet()
			r.gets(t, delta, "gateway", before)
		})
	}
}

// A client is not sent again what it has, and so does not acknowledge it again.
func TestContentThatWasRemovedAndSetAgainIsLastGood(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		before, after := endpoints("a", "1"), endpoints("a", "2")
		r.set(before)
		c := r.taking(t, p, "gateway", "1", "a")
		r.Apply(resource.Update{Removed: []*resource.Resource{before}, Set: []*resource.Resource{endpoints("a", "1")}})
		c.quiet()
		r.set(after)
		c.nack(c.expect(resource.EndpointType, "a"), "no")
		c.quiet()
		r.gets(t, p, "gateway", before)
	})
}
