package xds_test

import (
	"testing"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestWildcardInDelta(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("b", ""))
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.EndpointType) // nothing is everything
	c.take(resource.EndpointType, "a", "b")
	c.subscribe(resource.EndpointType, "a") // beside everything
	c.take(resource.EndpointType, "a")
	r.set(endpoints("c", ""))
	c.take(resource.EndpointType, "c")
	c.unsubscribe(resource.EndpointType, "*") // leaves a
	c.quiet()
	r.set(endpoints("a", "2"), endpoints("b", "2"))
	c.take(resource.EndpointType, "a")
	c.quiet()
	c.subscribe(resource.EndpointType, "*")
	c.take(resource.EndpointType, "b", "c")
	c.unsubscribe(resource.EndpointType, "a") // it is still part of everything, so it is sent again
	c.take(resource.EndpointType, "a")
	c.subscribe(resource.EndpointType, "none")
	c.gone(resource.EndpointType, "none")
	c.unsubscribe(resource.EndpointType, "none")
	c.gone(resource.EndpointType, "none")
	c.unsubscribe(resource.EndpointType, "*")
	c.quiet()
	r.set(endpoints("a", "3"))
	c.quiet()
}

func TestWildcardInStateOfTheWorld(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(cluster("a", ""), cluster("b", ""))
	c := r.connect(t, sotw, "gateway")
	c.subscribe(resource.ClusterType) // nothing is everything
	c.take(resource.ClusterType, "a", "b")
	c.subscribe(resource.ClusterType) // and stays so
	c.quiet()
	c.subscribe(resource.ClusterType, "a") // a name ends it
	c.take(resource.ClusterType, "a")
	r.set(cluster("b", "2")) // not wanted
	c.quiet()
	c.subscribe(resource.ClusterType, "*") // beside the name
	c.take(resource.ClusterType, "a", "b")
	c.unsubscribe(resource.ClusterType, "*", "a") // nothing, after a name, is nothing
	c.quiet()
	r.set(cluster("a", "2"), cluster("b", "3"))
	c.quiet()
}

func TestWildcardOfNothingIsAnswered(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set()
		c := r.connect(t, p, "gateway")
		for _, typeURL := range four {
			c.subscribe(typeURL)
			c.take(typeURL)
		}
	})
}

func TestUnsubscribingFromAllNamesIsNoWildcard(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(endpoints("a", ""), endpoints("b", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
		c.unsubscribe(resource.EndpointType, "a")
		c.quiet()
		r.set(endpoints("a", "2"), endpoints("c", ""))
		c.quiet()
		c.subscribe(resource.EndpointType, "a")
		c.take(resource.EndpointType, "a")
	})
}

func TestWildcardByNameFromTheFirstRequestOn(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""), cluster("b", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType, "*", "a")
		c.take(resource.ClusterType, "a", "b")
		c.unsubscribe(resource.ClusterType, "*") // a is left
		c.quiet()
		r.set(cluster("b", "2"))
		c.quiet()
		r.set(cluster("a", "2"))
		c.take(resource.ClusterType, "a")
	})
}

func TestUnsubscribedWildcardDoesNotComeBackWithAnEmptyRequest(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType, "*")
		c.take(resource.ClusterType, "a")
		c.unsubscribe(resource.ClusterType, "*")
		c.quiet()
		c.subscribe(resource.ClusterType)
		c.quiet()
		r.set(cluster("a", "2"), cluster("b", ""))
		c.quiet()
	})
}
