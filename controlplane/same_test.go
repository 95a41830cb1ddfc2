package controlplane_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// walk returns Worlds that end with a given one. Those before it have some of its services, some of them with other content.
func walk(random *rand.Rand, end *model.World, steps int) []*model.World {
	var way []*model.World
	for range steps {
		w := &model.World{Gateway: end.Gateway, Activators: end.Activators}
		for i, b := range end.Backends {
			switch random.IntN(4) {
			case 0: // without the service
				continue
			case 1: // with other content
				other, route := *b, *end.Routes[i]
				other.Endpoints = []model.Endpoint{{Host: "10.1.0.1", Port: 1 + random.IntN(60_000)}}
				route.Rules = slices.Clone(route.Rules)
				hosts := route.Rules[0].Hosts
				route.Rules[0].Hosts = append(slices.Clip(hosts), fmt.Sprintf("%d.%s", random.IntN(100), hosts[0]))
				w.Backends, w.Routes = append(w.Backends, &other), append(w.Routes, &route)
			default:
				w.Backends, w.Routes = append(w.Backends, b), append(w.Routes, end.Routes[i])
			}
		}
		way = append(way, w)
	}
	return append(way, end)
}

// served returns the version and bytes of everything that a server sends a new client of a role, by protocol, type and name.
func served(t *testing.T, p *harness, role string) map[string]string {
	t.Helper()
	conn, err := grpc.NewClient(p.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := map[string]string{}
	for _, typeURL := range []string{translator.ClusterType, translator.AssignmentType, translator.ListenerType, translator.RouteType} {
		node := &corev3.Node{Id: "new", Cluster: role}
		delta, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = delta.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, ResourceNamesSubscribe: []string{"*"}})
		d, err := delta.Recv()
		if err != nil {
			t.Fatal(err)
		}
		all["delta "+typeURL] = d.GetSystemVersionInfo()
		for _, r := range d.GetResources() {
			all["delta "+typeURL+" "+r.GetName()] = r.GetVersion() + " " + string(r.GetResource().GetValue())
		}
		state, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = state.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: typeURL})
		s, err := state.Recv()
		if err != nil {
			t.Fatal(err)
		}
		all["state "+typeURL] = s.GetVersionInfo()
		for i, r := range s.GetResources() {
			all[fmt.Sprint("state ", typeURL, " ", i)] = string(r.GetValue())
		}
	}
	return all
}

// Promise 11: what a server sends depends on the newest World alone, not on the Worlds before it. So a client that moves from one
// replica to another sees no change.
func TestServersWithDifferentPastsSendTheSame(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel() // the server makes new streams wait for a moment
			sameAtTheEnd(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func sameAtTheEnd(t *testing.T, random *rand.Rand) {
	names := make([]string, 30)
	for i := range names {
		names[i] = fmt.Sprintf("s%02d", i)
	}
	end := world(0, names...)
	end.Activators = []model.Endpoint{{Host: "127.0.0.1", Port: 8012}}
	var said []map[string]map[string]string
	for range 2 {
		p := newHarness(t)
		newFleet(t, p.address, 1) // its acknowledgement shows that the last World is programmed
		way := walk(random, end, 10)
		for i, w := range way {
			at := *w
			at.Generation = uint64(i + 1)
			p.loop.Offer(&at)
			if random.IntN(2) == 0 {
				p.eventually("the World is programmed", p.has(at.Generation))
			}
		}
		p.eventually("the last World is programmed", p.has(uint64(len(way))))
		byRole := map[string]map[string]string{}
		for _, role := range []string{"gateway", "activator", "mesh"} {
			byRole[role] = served(t, p, role)
		}
		said = append(said, byRole)
	}
	if len(said[0]["gateway"]) < 4*len(names) || len(said[0]["mesh"]) < 4*len(names) {
		t.Fatalf("gateways get %d and gRPC clients %d resources", len(said[0]["gateway"]), len(said[0]["mesh"]))
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Fatalf("two servers differ (-one +other)\n%s", diff)
	}
}
