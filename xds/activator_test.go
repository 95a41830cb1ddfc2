package xds_test

import (
	"fmt"
	"testing"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// An activator subscribes to endpoints name by name as requests come in, and its requests wait for the answer.

func TestEndpointsAreAnsweredOneByOneOnARunningStream(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("b", ""), endpoints("c", ""))
	c := r.connect(t, delta, "activator")
	c.subscribe(resource.EndpointType, "a")
	a := c.expect(resource.EndpointType, "a")
	// Neither an unanswered response nor a change that is under way holds up the next subscription.
	r.set(endpoints("a", "2"))
	c.subscribe(resource.EndpointType, "b")
	c.until(resource.EndpointType, "b")
	c.subscribe(resource.EndpointType, "none")
	c.gone(resource.EndpointType, "none")
	c.ack(a)

	// A missing resource comes as soon as it exists, and is removed again.
	r.set(endpoints("none", ""))
	c.until(resource.EndpointType, "none")
	r.Apply(resource.Update{Removed: []*resource.Resource{endpoints("none", "")}})
	c.gone(resource.EndpointType, "none")
	c.quiet()

	c.unsubscribe(resource.EndpointType, "a", "b", "none")
	c.quiet()
	r.set(endpoints("a", "3"), endpoints("b", "3"), endpoints("none", "3"), endpoints("c", "3"))
	c.quiet()
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
}

// until reads and acknowledges responses until one has the resource.
func (c *raw) until(typeURL, name string) {
	c.t.Helper()
	for {
		got := c.next()
		c.ack(got)
		if _, ok := got.Set[name]; ok && got.Type == typeURL {
			return
		}
	}
}

// BenchmarkSubscribe is how long an activator with many subscriptions waits for the endpoints of one more name, over loopback: for
// endpoints that exist, for the answer that there are none, and from when they are set until they arrive.
func BenchmarkSubscribe(b *testing.B) {
	const names = 10_000
	r := serve(b, xds.Options{})
	var all []*resource.Resource
	for i := range names {
		all = append(all, endpoints(fmt.Sprint("ns/", i), ""))
	}
	r.set(all...)
	c := r.connect(b, delta, "activator")
	for i := range 1000 {
		c.subscribe(resource.EndpointType, fmt.Sprint("ns/", i))
		c.ack(c.next())
	}
	b.Run("exists", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			name := fmt.Sprint("ns/", 1000+i%(names-1000))
			c.subscribe(resource.EndpointType, name)
			c.ack(c.next())
			c.unsubscribe(resource.EndpointType, name)
		}
	})
	b.Run("none", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			name := fmt.Sprint("none/", i)
			c.subscribe(resource.EndpointType, name)
			c.ack(c.next())
			c.unsubscribe(resource.EndpointType, name)
		}
	})
	b.Run("comes", func(b *testing.B) {
		c.subscribe(resource.EndpointType, "later")
		c.ack(c.next())
		for i := 0; b.Loop(); i++ {
			r.set(endpoints("later", fmt.Sprint(i)))
			c.ack(c.next())
		}
	})
}
