package xds_test

import (
	"testing"

	"sluice.dev/sluice/xds"
)

func TestWildcardInDelta(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("b", ""))
	c := r.connect(t, delta, "gateway")
	c.subscribe(xds.EndpointType) // nothing is everything
	c.take(xds.EndpointType, "a", "b")
	c.subscribe(xds.EndpointType, "a") // beside everything
	c.take(xds.EndpointType, "a")
	r.set(endpoints("c", ""))
	c.take(xds.EndpointType, "c")
	c.unsubscribe(xds.EndpointType, "*") // leaves a
	c.quiet()
	r.set(endpoints("a", "2"), endpoints("b", "2"))
	c.take(xds.EndpointType, "a")
	c.quiet()
	c.subscribe(xds.EndpointType, "*")
	c.take(xds.EndpointType, "b", "c")
	c.unsubscribe(xds.EndpointType, "a") // it is part of everything still, and that is said
	c.take(xds.EndpointType, "a")
	c.subscribe(xds.EndpointType, "none")
	c.gone(xds.EndpointType, "none")
	c.unsubscribe(xds.EndpointType, "none")
	c.gone(xds.EndpointType, "none")
	c.unsubscribe(xds.EndpointType, "*")
	c.quiet()
	r.set(endpoints("a", "3"))
	c.quiet()
}

func TestWildcardInStateOfTheWorld(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(cluster("a", ""), cluster("b", ""))
	c := r.connect(t, sotw, "gateway")
	c.subscribe(xds.ClusterType) // nothing is everything
	c.take(xds.ClusterType, "a", "b")
	c.subscribe(xds.ClusterType) // and stays so
	c.quiet()
	c.subscribe(xds.ClusterType, "a") // a name ends it
	c.take(xds.ClusterType, "a")
	r.set(cluster("b", "2")) // not wanted
	c.quiet()
	c.subscribe(xds.ClusterType, "*") // beside the name
	c.take(xds.ClusterType, "a", "b")
	c.unsubscribe(xds.ClusterType, "*", "a") // nothing, after a name, is nothing
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

func TestNamesThatAreAllTakenBackAreNoWildcard(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(endpoints("a", ""), endpoints("b", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(xds.EndpointType, "a")
		c.take(xds.EndpointType, "a")
		c.unsubscribe(xds.EndpointType, "a")
		c.quiet()
		r.set(endpoints("a", "2"), endpoints("c", ""))
		c.quiet()
		c.subscribe(xds.EndpointType, "a")
		c.take(xds.EndpointType, "a")
	})
}

func TestWildcardByNameFromTheFirstRequestOn(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""), cluster("b", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(xds.ClusterType, "*", "a")
		c.take(xds.ClusterType, "a", "b")
		c.unsubscribe(xds.ClusterType, "*") // a is left
		c.quiet()
		r.set(cluster("b", "2"))
		c.quiet()
		r.set(cluster("a", "2"))
		c.take(xds.ClusterType, "a")
	})
}

func TestWildcardTakenBackIsNotGivenAgainByAnEmptyRequest(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(xds.ClusterType, "*")
		c.take(xds.ClusterType, "a")
		c.unsubscribe(xds.ClusterType, "*")
		c.quiet()
		c.subscribe(xds.ClusterType)
		c.quiet()
		r.set(cluster("a", "2"), cluster("b", ""))
		c.quiet()
	})
}
