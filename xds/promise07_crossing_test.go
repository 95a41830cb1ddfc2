package xds

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// held is a fakeStream whose first response is held up, so that the writer finds several changes at once when it goes on.
type held struct {
	*fakeStream
	gate chan struct{}
}

func (h *held) SendMsg(m any) error {
	<-h.gate
	return h.fakeStream.SendMsg(m)
}

// A resource is set and removed while a client subscribes to it. Which the writer sees first is random.
func TestSubscriptionThatCrossesAChangeIsAnswered(t *testing.T) {
	for range 20 {
		synctest.Test(t, crossing)
	}
}

func crossing(t *testing.T) {
	server := New(Options{})
	defer server.Close()
	server.Apply(resource.Update{
		Set: []*resource.Resource{{Type: resource.EndpointType, Name: "other", Version: "1", Roles: contract.RoleGateway}},
	})
	ctx, cancel := context.WithCancel(t.Context())
	h := &held{gate: make(chan struct{}), fakeStream: &fakeStream{
		ctx: ctx, says: make(chan *discoveryv3.DeltaDiscoveryRequest), got: make(chan *discoveryv3.DeltaDiscoveryResponse, 10),
	}}
	go func() {
		if err := server.DeltaAggregatedResources(h); err != nil {
			t.Error(err)
		}
	}()
	h.says <- &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Cluster: "gateway"}, TypeUrl: resource.EndpointType}
	synctest.Wait()
	r := &resource.Resource{Type: resource.EndpointType, Name: "a", Version: "1", Roles: contract.RoleGateway}
	server.Apply(resource.Update{Set: []*resource.Resource{r}})
	server.Apply(resource.Update{Removed: []*resource.Resource{r}})
	h.says <- &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResourceNamesSubscribe: []string{"a"}}
	synctest.Wait()
	close(h.gate)
	synctest.Wait()
	<-h.got
	select {
	case got := <-h.got:
		if !slices.Equal(got.GetRemovedResources(), []string{"a"}) {
			t.Errorf("it is answered with %v", got)
		}
	default:
		t.Error("it is not answered that there is none")
	}
	cancel()
	synctest.Wait()
}
