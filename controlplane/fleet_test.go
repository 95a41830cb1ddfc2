package controlplane_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/translator"
)

// fleet is a number of clients that subscribe as Envoy does over one delta stream: to all clusters and listeners, and to
// endpoints and routes by name. They keep only versions and acknowledge every response.
type fleet struct {
	t       testing.TB
	members []*member
	bytes   atomic.Int64 // of resources, received so far
	running sync.WaitGroup
}

// member is one client of a fleet.
type member struct {
	fleet    *fleet
	id       string
	address  string
	versions map[string]map[string]string // of the resources that it has, by type and name
	ask      map[string][]string          // names to subscribe to next, by type
	cancel   context.CancelFunc
}

type deltaStream = grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]

// newFleet connects clients.
func newFleet(t testing.TB, address string, size int) *fleet {
	f := &fleet{t: t}
	for i := range size {
		m := &member{fleet: f, id: fmt.Sprint("fleet-", i), address: address, versions: map[string]map[string]string{}}
		f.members = append(f.members, m)
	}
	f.connect()
	t.Cleanup(f.cut)
	return f
}

// connect has every client open a stream with the versions that it has from an earlier one.
func (f *fleet) connect() {
	f.t.Helper()
	for _, m := range f.members {
		conn, err := grpc.NewClient(m.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
		if err != nil {
			f.t.Fatal(err)
		}
		var ctx context.Context
		ctx, m.cancel = context.WithCancel(context.Background())
		f.running.Go(func() {
			defer conn.Close()
			m.follow(ctx, conn)
		})
	}
}

// cut ends all streams.
func (f *fleet) cut() {
	for _, m := range f.members {
		m.cancel()
	}
	f.running.Wait()
}

// follow runs one stream to its end.
func (m *member) follow(ctx context.Context, conn *grpc.ClientConn) {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil || m.greet(stream) != nil {
		return
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return
		}
		m.take(r)
		if stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}) != nil {
			return
		}
		for typeURL, names := range m.ask {
			if stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names}) != nil {
				return
			}
		}
		clear(m.ask)
	}
}

func (m *member) greet(stream deltaStream) error {
	m.ask = map[string][]string{}
	for _, typeURL := range []string{translator.ClusterType, translator.AssignmentType, translator.ListenerType, translator.RouteType} {
		names := []string{"*"}
		if typeURL == translator.AssignmentType || typeURL == translator.RouteType {
			names = nil
			for name := range m.versions[typeURL] {
				names = append(names, name)
			}
			if len(names) == 0 {
				continue // it subscribes when it knows them
			}
		}
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: m.id, Cluster: "gateway"}, TypeUrl: typeURL,
			ResourceNamesSubscribe: names, InitialResourceVersions: m.versions[typeURL],
		}); err != nil {
			return err
		}
	}
	return nil
}

// take records a response and the names to subscribe to because of it.
func (m *member) take(r *discoveryv3.DeltaDiscoveryResponse) {
	has := m.versions[r.GetTypeUrl()]
	if has == nil {
		has = map[string]string{}
		m.versions[r.GetTypeUrl()] = has
	}
	for _, resource := range r.GetResources() {
		m.fleet.bytes.Add(int64(len(resource.GetResource().GetValue())))
		_, known := has[resource.GetName()]
		has[resource.GetName()] = resource.GetVersion()
		if known {
			continue
		}
		switch r.GetTypeUrl() {
		case translator.ListenerType:
			m.ask[translator.RouteType] = append(m.ask[translator.RouteType], resource.GetName()) // which has the same name
		case translator.ClusterType:
			var c clusterv3.Cluster
			if proto.Unmarshal(resource.GetResource().GetValue(), &c) == nil && c.GetType() == clusterv3.Cluster_EDS {
				m.ask[translator.AssignmentType] = append(m.ask[translator.AssignmentType], resource.GetName())
			}
		}
	}
	for _, name := range r.GetRemovedResources() {
		delete(has, name)
	}
}
