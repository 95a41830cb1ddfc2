package xds_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// When the memory for names is used up, the server refuses more names. What clients of any role use leaves half of it to gateways. What
// a client gives back is there for the next.
func TestNamesOfAllClientsHaveABudget(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Memory: 20 * 360}) // some 20 names, 10 of them for clients of any role
		r.set(endpoints("shared", "zone"))
		names := func(client int) []string {
			all := []string{"shared"}
			for i := range 7 {
				all = append(all, fmt.Sprintf("%d/name-%d", client, i))
			}
			return all
		}
		first := r.connect(t, p, "mesh")
		first.subscribe(resource.EndpointType, names(1)...)
		first.take(resource.EndpointType, "shared")
		second := r.connect(t, p, "mesh")
		_ = second.wire.subscribe(second.node, resource.EndpointType, names(2)...)
		if err := <-second.ended; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the stream ended with %v", err)
		}
		gateway := r.connect(t, p, "gateway")
		gateway.subscribe(resource.EndpointType, names(3)...)
		gateway.take(resource.EndpointType, "shared")
		first.cut()
		eventually(t, "the first is gone", func() bool { return r.Stats().Streams["mesh"] == 0 })
		third := r.connect(t, p, "mesh")
		third.subscribe(resource.EndpointType, names(4)...)
		third.take(resource.EndpointType, "shared")
	})
}
