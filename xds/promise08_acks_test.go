package xds_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/xds"
)

// twoOpen connects a client that has two responses to answer, of endpoints a and then of b, before it may have a route to both.
func twoOpen(t *testing.T, options xds.Options) (c *raw, first, second reply) {
	options.Settle, options.Wait = time.Nanosecond, time.Hour
	r, c := follow(t, delta, options)
	r.set(endpoints("a", "2"), endpoints("b", ""))
	first = c.expect(xds.EndpointType, "a")
	c.subscribe(xds.EndpointType, "b") // asked for, so sent while the first is on its way
	second = c.expect(xds.EndpointType, "b")
	r.set(routes("http", "a", "b"))
	c.quiet()
	return c, first, second
}

func TestAcknowledgementCountsForNoLaterResponse(t *testing.T) {
	c, first, second := twoOpen(t, xds.Options{})
	c.ack(first)
	c.quiet() // the route waits for the second
	c.ack(second)
	c.take(xds.RouteType, "http")
}

func TestAcknowledgementCountsForEarlierResponses(t *testing.T) {
	c, _, second := twoOpen(t, xds.Options{})
	c.ack(second)
	c.take(xds.RouteType, "http")
}

func TestRefusalOfAnEarlierResponseSaysNothingOfTheLater(t *testing.T) {
	nacks := make(chan xds.Nack, 10)
	c, first, second := twoOpen(t, xds.Options{Nacked: func(n xds.Nack) { nacks <- n }})
	c.nack(first, "no")
	if got := await(t, "a refusal", nacks); !cmp.Equal(got.Names, []string{"a"}) {
		t.Errorf("refused are %v", got.Names)
	}
	c.quiet()
	c.ack(second)
	c.take(xds.RouteType, "http")
}

func TestStateOfTheWorldTakesNoSubscriptionThatCrossedAResponse(t *testing.T) {
	r, c := follow(t, sotw, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
	r.set(endpoints("a", "2"), endpoints("b", ""))
	late := c.expect(xds.EndpointType, "a")
	c.subscribe(xds.EndpointType, "b") // with the nonce before
	c.quiet()
	c.ack(late) // names both
	c.take(xds.EndpointType, "b")
}
