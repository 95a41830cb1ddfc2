package xds_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// What Envoy says of a listener whose address another process has. It takes the others in the response.
const taken = "Error adding/updating listener(s) http: cannot bind '127.0.0.1:8080': Address already in use\n"

func TestListenerThatCannotBeBoundIsSentAgainToTheClientThatNackedIt(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		reported := make(chan []resource.Rejection, 100)
		r := serve(t, xds.Options{Settle: time.Nanosecond, Rejected: func(all []resource.Rejection) { reported <- all }})
		r.set(listener("http", "http", ""), listener("local", "local", ""))
		other, c := r.connect(t, p, "gateway"), r.connect(t, p, "gateway")
		other.subscribe(resource.ListenerType)
		other.take(resource.ListenerType, "http", "local")
		c.subscribe(resource.ListenerType)
		c.nack(c.expect(resource.ListenerType, "http", "local"), taken)
		if got := <-reported; len(got) != 1 || got[0].Name != "http" || got[0].RolledBack {
			t.Errorf("%+v are reported as rejected, want http alone", got)
		}
		// The delta protocol sends only what the client does not have; a response of the other one holds everything.
		again := []string{"http"}
		if p == sotw {
			again = []string{"http", "local"}
		}
		c.nack(c.expect(resource.ListenerType, again...), taken)
		c.take(resource.ListenerType, again...)
		if got := <-reported; len(got) != 0 {
			t.Errorf("%+v are reported as rejected after it was taken", got)
		}
		c.quiet()
		other.quiet()
	})
}

func TestNewAddressThatCannotBeBoundIsNotRolledBackForOthers(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		r.set(listener("http", "http", "old"))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ListenerType)
		c.take(resource.ListenerType, "http")
		r.set(listener("http", "http", "new"))
		first := c.expect(resource.ListenerType, "http")
		c.nack(first, taken)
		again := c.take(resource.ListenerType, "http")
		if diff := cmp.Diff(first.Set, again.Set); diff != "" {
			t.Errorf("something else is sent after the rejection (-first +again):\n%s", diff)
		}
	})
}

func TestRemovedResourcesAreNotKeptForAListenerThatWasNeverBound(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		r.set(cluster("a", ""), listener("http", "http", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "a")
		c.subscribe(resource.ListenerType)
		c.nack(c.expect(resource.ListenerType, "http"), taken)
		r.Apply(resource.Update{Removed: []*resource.Resource{cluster("a", "")}})
		for {
			got := c.next() // the listener again, or the removal
			if got.Type == resource.ClusterType {
				break
			}
			c.nack(got, taken)
		}
	})
}
