package xds_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestClientThatDoesNotReadDelaysNoOther(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		const wait = 100 * time.Millisecond
		moved := make(chan resource.Progress, 10_000)
		r := serve(t, xds.Options{Wait: wait, Progress: func(p resource.Progress) { moved <- p }})
		big := func(i int) *resource.Resource { return cluster("big", strings.Repeat(fmt.Sprint(i%10), 200_000)) }
		r.set(big(0))
		wire, err := p.open(t.Context(), r.dial(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.subscribe(nil, resource.ClusterType); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the client that does not read is connected", func() bool { return r.Stats().Streams["mesh"] == 1 })
		c := r.connect(t, p, "mesh")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "big")
		var seq uint64
		for i := range 50 {
			seq = r.set(big(i + 1))
			c.take(resource.ClusterType, "big")
		}
		// In the end progress leaves it out.
		for p := range moved {
			if p.Role == contract.RoleMesh && p.Seq == seq {
				break
			}
		}
	})
}

func TestNewestWins(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.set(endpoints("a", "0"))
		late := c.expect(resource.EndpointType, "a")
		var last *resource.Resource
		for i := range 1000 {
			last = endpoints("a", fmt.Sprint(i+1))
			r.set(last)
		}
		c.quiet()
		c.ack(late)
		if got := c.take(resource.EndpointType, "a"); string(got.Set["a"]) != string(last.Body) {
			t.Error("the client was sent something older than the newest")
		}
		c.quiet()
	})
}

func TestLargeResponsesAreSplit(t *testing.T) {
	r := serve(t, xds.Options{})
	var all []*resource.Resource
	for i := range 50 {
		all = append(all, endpoints(fmt.Sprint(i), strings.Repeat("x", 200_000)))
	}
	r.set(all...)
	each(t, func(t *testing.T, p *protocol) {
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.EndpointType)
		for got, parts := 0, 0; got < len(all); parts++ {
			part := c.next()
			c.ack(part)
			got += len(part.Set)
			if len(part.Set) > 10 {
				t.Errorf("one response holds %d resources of 200 kB", len(part.Set))
			}
		}
		c.quiet()
	})
}

func TestLimitsEndOnlyTheStreamThatExceedsThem(t *testing.T) {
	r := serve(t, xds.Options{MaxStreams: 3, MaxNames: 5})
	r.set()
	good := r.connect(t, delta, "gateway")
	good.quiet()
	long := strings.Repeat("x", 4000)
	for name, c := range map[string]struct {
		request *discoveryv3.DeltaDiscoveryRequest
		code    codes.Code
	}{
		"no type":   {&discoveryv3.DeltaDiscoveryRequest{}, codes.InvalidArgument},
		"long type": {&discoveryv3.DeltaDiscoveryRequest{TypeUrl: long}, codes.InvalidArgument},
		"long name": {&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesSubscribe: []string{long}},
			codes.InvalidArgument},
		"too many names": {&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType,
			ResourceNamesSubscribe: strings.Split("a b c d e f", " ")}, codes.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			bad := r.connect(t, delta, "gateway")
			bad.must(bad.wire.(*deltaTransport).stream.Send(c.request))
			if err := <-bad.ended; status.Code(err) != c.code {
				t.Errorf("the stream ended with %v, want %v", err, c.code)
			}
		})
	}
	t.Run("too many streams", func(t *testing.T) {
		eventually(t, "the others are gone", func() bool { return r.Stats().Streams["gateway"] == 1 })
		for range 2 {
			r.connect(t, delta, "gateway").quiet()
		}
		bad := r.connect(t, delta, "gateway")
		if err := <-bad.ended; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the stream ended with %v", err)
		}
	})
	good.quiet()
}
