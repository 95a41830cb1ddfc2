package xds_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// twoOpen connects a client that has two responses to answer, of endpoints a and then of b, before it may have a route to both.
func twoOpen(t *testing.T, options xds.Options) (c *raw, first, second reply) {
	options.Settle, options.Wait = time.Nanosecond, time.Hour
	r, c := follow(t, delta, options)
	r.set(endpoints("a", "2"), endpoints("b", ""))
	first = c.expect(resource.EndpointType, "a")
	c.subscribe(resource.EndpointType, "b") // sent at once, while the first is not answered
	second = c.expect(resource.EndpointType, "b")
	r.set(routes("http", "a", "b"))
	c.quiet()
	return c, first, second
}

func TestAcknowledgementCountsForNoLaterResponse(t *testing.T) {
	c, first, second := twoOpen(t, xds.Options{})
	c.ack(first)
	c.quiet() // the route waits for the second
	c.ack(second)
	c.take(resource.RouteType, "http")
}

func TestAcknowledgementCountsForEarlierResponses(t *testing.T) {
	c, _, second := twoOpen(t, xds.Options{})
	c.ack(second)
	c.take(resource.RouteType, "http")
}

func TestNackOfAnEarlierResponseCountsForNoLater(t *testing.T) {
	nacks := make(chan resource.Nack, 10)
	c, first, second := twoOpen(t, xds.Options{Nacked: func(n resource.Nack) { nacks <- n }})
	c.nack(first, "no")
	if got := await(t, "a rejection", nacks); !cmp.Equal(got.Names, []string{"a"}) {
		t.Errorf("rejected are %v", got.Names)
	}
	c.quiet()
	c.ack(second)
	c.take(resource.RouteType, "http")
}

func TestStateOfTheWorldTakesNoSubscriptionThatCrossedAResponse(t *testing.T) {
	r, c := follow(t, sotw, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
	r.set(endpoints("a", "2"), endpoints("b", ""))
	late := c.expect(resource.EndpointType, "a")
	c.subscribe(resource.EndpointType, "b") // with the nonce before
	c.quiet()
	c.ack(late) // names both
	c.take(resource.EndpointType, "b")
}

// A client's answer to a response counts for that response, though the names that it repeats are older than the newest one.
func TestStateOfTheWorldTakesANackThatCrossedAResponse(t *testing.T) {
	nacks := make(chan resource.Nack, 10)
	reported := &rejectionList{}
	r := serve(t, xds.Options{
		Settle: time.Nanosecond, Wait: time.Hour, Nacked: func(n resource.Nack) { nacks <- n }, Rejected: reported.set,
	})
	r.set(endpoints("a", "1"), endpoints("b", "1"), endpoints("c", "1"))
	c := r.connect(t, sotw, "gateway")
	c.subscribe(resource.EndpointType, "a")
	c.take(resource.EndpointType, "a")
	first, second := endpoints("a", strings.Repeat("2", 1_500_000)), endpoints("c", strings.Repeat("2", 1_500_000))
	c.subscribe(resource.EndpointType, "c")
	c.take(resource.EndpointType, "c")
	r.set(first, second) // too much for one response
	rejected := c.expect(resource.EndpointType, "a")
	late := c.expect(resource.EndpointType, "c")
	c.nack(rejected, "a: no")
	if got := await(t, "a rejection", nacks); !cmp.Equal(got.Names, []string{"a"}) {
		t.Errorf("rejected are %v", got.Names)
	}
	c.ack(late)
	c.quiet()
	reported.names(t, "a")
	r.gets(t, sotw, "gateway", endpoints("a", "1"))
}
