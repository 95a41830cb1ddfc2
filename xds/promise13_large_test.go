package xds_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestResourceOverTheMessageLimitGoesAlone(t *testing.T) {
	r := serve(t, xds.Options{})
	huge := endpoints("huge", strings.Repeat("x", 5<<20))
	r.set(endpoints("a", ""), huge, endpoints("z", ""))
	each(t, func(t *testing.T, p *protocol) {
		c := r.connect(t, p, "gateway") // takes 64 MiB
		c.subscribe(resource.EndpointType)
		var got []string
		for len(got) < 3 {
			part := c.next()
			c.ack(part)
			if part.Set["huge"] != nil && len(part.Set) > 1 {
				t.Errorf("it came together with %v", part.names())
			}
			got = append(got, part.names()...)
		}
		if slices.Sort(got); !slices.Equal(got, []string{"a", "huge", "z"}) {
			t.Errorf("got %v", got)
		}
		c.quiet()
	})
}

func TestClientWhoseLimitIsExceededDisturbsNoOther(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""), endpoints("huge", strings.Repeat("x", 5<<20)))
	each(t, func(t *testing.T, p *protocol) {
		conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials())) // takes 4 MiB
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		small, err := p.open(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if err := small.subscribe(nil, resource.EndpointType, "huge"); err != nil {
			t.Fatal(err)
		}
		if _, err := small.receive(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the client was sent what it cannot take, and got %v", err)
		}
		// What it can take, it gets on its next stream.
		again, err := p.open(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.subscribe(nil, resource.EndpointType, "a"); err != nil {
			t.Fatal(err)
		}
		if got, err := again.receive(); err != nil || got.Set["a"] == nil {
			t.Errorf("got %v, %v", got.names(), err)
		}
	})
}

func TestRequestOverTheLimitEndsItsStreamAlone(t *testing.T) {
	r := serve(t, xds.Options{})
	r.set(endpoints("a", ""))
	good, bad := r.connect(t, delta, "gateway"), r.connect(t, delta, "gateway")
	good.quiet()
	err := bad.wire.(*deltaTransport).stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: resource.EndpointType, ResponseNonce: strings.Repeat("x", 17<<20),
	})
	if err == nil || errors.Is(err, io.EOF) { // the stream may have ended while this was being sent
		err = <-bad.ended
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the stream ended with %v", err)
	}
	good.subscribe(resource.EndpointType, "a")
	good.take(resource.EndpointType, "a")
}
