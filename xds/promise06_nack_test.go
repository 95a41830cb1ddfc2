package xds_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestNackIsReportedAndAnsweredOnlyWhenContentChanges(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		nacks := make(chan resource.Nack, 100)
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Nacked: func(n resource.Nack) { nacks <- n }})
		r.set(cluster("a", "bad"))
		bad := c.expect(resource.ClusterType, "a")
		c.take(resource.EndpointType, "a")
		before := r.Stats()
		for range 10 { // a client in a loop
			c.nack(bad, "a: not so")
		}
		c.quiet()
		after := r.Stats()
		if sent := after.Pushes - before.Pushes; sent != 1 { // the fence
			t.Errorf("%d responses to rejections, want none", sent-1)
		}
		if after.Nacks == before.Nacks {
			t.Error("the rejection was not counted")
		}
		want := resource.Nack{
			Role: contract.RoleGateway, Client: "test", Type: resource.ClusterType, Names: []string{"a"}, Text: "a: not so",
		}
		if diff := cmp.Diff(want, <-nacks); diff != "" {
			t.Errorf("reported rejection (-want +got):\n%s", diff)
		}

		// Others are not affected, and a better version is sent.
		r.set(endpoints("a", "new"))
		c.take(resource.EndpointType, "a")
		r.set(cluster("a", "good"))
		c.take(resource.ClusterType, "a")
	})
}

func TestNackNamesWhatTheTextMentions(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		nacks := make(chan resource.Nack, 1)
		r := serve(t, xds.Options{Nacked: func(n resource.Nack) { nacks <- n }})
		r.set(cluster("ns/a", ""), cluster("ns/ab", ""), cluster("ns/a.b", ""), cluster("ns/c", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.nack(c.next(), "Error adding/updating cluster(s) ns/ab: no such thing, ns/c: nor this.")
		if got := <-nacks; !cmp.Equal(got.Names, []string{"ns/ab", "ns/c"}) {
			t.Errorf("rejection is said to mean %v", got.Names)
		}
	})
}

func TestNackHoldsUpNoOtherType(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.set(cluster("b", "bad"), endpoints("b", ""), routes("http", "a", "c"))
		c.nack(c.next(), "b: no")
		c.take(resource.RouteType, "http")
	})
}
