package xds_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

const strange = "type.googleapis.com/google.protobuf.StringValue"

func TestUnknownTypesAreServedLikeOthers(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		// Their names are in field 1 here, as far as the harness is concerned.
		of := func(name string) *resource.Resource { return made(strange, name, wrapperspb.String(name)) }
		r := serve(t, xds.Options{})
		r.set(of("a"), of("b"), cluster("c", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(strange, "a", "none")
		if got := c.take(strange, "a"); p == delta && (len(got.Removed) != 1 || got.Removed[0] != "none") {
			t.Errorf("removed are %v", got.Removed)
		}
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "c")
		r.set(of("none"))
		c.take(strange, "none")
		c.quiet()
	})
}

func TestTypeWithoutResourcesIsAnsweredOnceAndHoldsUpNoOther(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := follow(t, p, xds.Options{Settle: 1})
		c.subscribe(strange)
		c.expect(strange) // and never acknowledged
		before := r.Stats().Pushes
		r.set(endpoints("a", "2"))
		c.take(resource.EndpointType, "a")
		if got := r.Stats().Pushes - before; got != 1 {
			t.Errorf("%d responses to one change", got)
		}
	})
}

func TestStreamThatAsksForTooManyTypesEnds(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set()
		bad, good := r.connect(t, p, "gateway"), r.connect(t, p, "gateway")
		for i := range 33 {
			typeURL := fmt.Sprintf("%s%d", strange, i)
			bad.subscribe(typeURL)
			if i < 32 {
				bad.take(typeURL)
			}
		}
		if err := <-bad.ended; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the stream ended with %v", err)
		}
		good.quiet()
	})
}
