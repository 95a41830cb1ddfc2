package lrs

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	load_statsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

func zoneStats(zone string, issued uint64, metrics ...any) *endpointv3.UpstreamLocalityStats {
	l := &endpointv3.UpstreamLocalityStats{
		Locality: &corev3.Locality{Zone: zone}, TotalIssuedRequests: issued, TotalSuccessfulRequests: issued / 2,
		TotalErrorRequests: issued / 4, TotalRequestsInProgress: issued / 10,
	}
	for i := 0; i < len(metrics); i += 2 {
		l.LoadMetricStats = append(l.LoadMetricStats, &endpointv3.EndpointLoadMetricStats{
			MetricName: metrics[i].(string), TotalMetricValue: metrics[i+1].(float64),
		})
	}
	return l
}

func clusterStats(name string, interval time.Duration, zones ...*endpointv3.UpstreamLocalityStats) *endpointv3.ClusterStats {
	s := &endpointv3.ClusterStats{ClusterName: name, UpstreamLocalityStats: zones}
	if interval != 0 {
		s.LoadReportInterval = durationpb.New(interval)
	}
	return s
}

func TestReportIsRead(t *testing.T) {
	got, dropped := read(&load_statsv3.LoadStatsRequest{ClusterStats: []*endpointv3.ClusterStats{
		clusterStats("ns/a", 2*time.Second,
			zoneStats("pods", 100, contract.LoadConcurrency, 3.5, contract.LoadStreams, 1.5, contract.LoadWaiting, 7.0, contract.LoadOldest, 0.5),
			zoneStats("activator", 20)),
		clusterStats("ns/b", 0, zoneStats("pods", 40), zoneStats("pods", 60)), // a priority each
		clusterStats("ns/c", -time.Second, zoneStats("", 0)),
		clusterStats("ns/none", time.Second),
	}}, 5*time.Second)
	want := resource.LoadReport{Interval: 2 * time.Second, Clusters: []resource.ClusterLoad{
		{Cluster: "ns/a", Zone: "pods", Interval: 2 * time.Second, Issued: 100, Succeeded: 50, Failed: 25, InProgress: 10, Concurrency: 3.5,
			Streams: 1.5, Waiting: 7, Oldest: 0.5, Averaged: true},
		{Cluster: "ns/a", Zone: "activator", Interval: 2 * time.Second, Issued: 20, Succeeded: 10, Failed: 5, InProgress: 2},
		{Cluster: "ns/b", Zone: "pods", Interval: 5 * time.Second, Issued: 100, Succeeded: 50, Failed: 25, InProgress: 10},
		{Cluster: "ns/c", Interval: 5 * time.Second},
	}}
	if diff := cmp.Diff(want, got); diff != "" || dropped != 0 {
		t.Errorf("%d dropped; report (-want +got):\n%s", dropped, diff)
	}
	got, _ = read(&load_statsv3.LoadStatsRequest{}, time.Second)
	if diff := cmp.Diff(resource.LoadReport{Interval: time.Second}, got); diff != "" {
		t.Errorf("empty report (-want +got):\n%s", diff)
	}
}

func TestInvalidNumbersAreDroppedFromAReport(t *testing.T) {
	var many []*endpointv3.UpstreamLocalityStats
	for i := range 3 * maxZones {
		many = append(many, zoneStats(fmt.Sprint(i), 1))
	}
	for name, bad := range map[string]*endpointv3.ClusterStats{
		"no name":      clusterStats("", time.Second, zoneStats("pods", 1)),
		"a long name":  clusterStats(strings.Repeat("x", resource.MaxName+1), time.Second, zoneStats("pods", 1)),
		"a long zone":  clusterStats("bad", time.Second, zoneStats(strings.Repeat("x", maxZone+1), 1)),
		"a count":      clusterStats("bad", time.Second, zoneStats("pods", math.MaxUint64)),
		"not a number": clusterStats("bad", time.Second, zoneStats("pods", 1, contract.LoadConcurrency, math.NaN())),
		"infinity":     clusterStats("bad", time.Second, zoneStats("pods", 1, contract.LoadWaiting, math.Inf(1))),
		"less than 0":  clusterStats("bad", time.Second, zoneStats("pods", 1, contract.LoadStreams, -0.1)),
		"too large":    clusterStats("bad", time.Second, zoneStats("pods", 1, contract.LoadConcurrency, 1.1e9)),
	} {
		got, dropped := read(&load_statsv3.LoadStatsRequest{ClusterStats: []*endpointv3.ClusterStats{
			bad, clusterStats("good", time.Second, zoneStats("pods", 8)),
		}}, time.Second)
		if len(got.Clusters) != 1 || got.Clusters[0].Cluster != "good" || dropped != 1 {
			t.Errorf("%s: %d dropped, left is %v", name, dropped, got.Clusters)
		}
	}
	got, dropped := read(&load_statsv3.LoadStatsRequest{
		ClusterStats: []*endpointv3.ClusterStats{clusterStats("many", time.Second, many...)},
	}, time.Second)
	if len(got.Clusters) != maxZones || dropped != 2*maxZones {
		t.Errorf("%d zones, %d dropped", len(got.Clusters), dropped)
	}
	huge := &load_statsv3.LoadStatsRequest{ClusterStats: make([]*endpointv3.ClusterStats, maxLoads+7)}
	for i := range huge.ClusterStats {
		huge.ClusterStats[i] = clusterStats("c", 0, zoneStats("pods", 1))
	}
	if got, dropped := read(huge, time.Second); len(got.Clusters) != maxLoads || dropped != 7 {
		t.Errorf("%d clusters, %d dropped", len(got.Clusters), dropped)
	}
}

// BenchmarkLoadReport is the server's work on one report of 1,000 clusters, two zones each, without the network: reading the
// message, and making a resource.LoadReport of it.
func BenchmarkLoadReport(b *testing.B) {
	const clusters = 1000
	m := &load_statsv3.LoadStatsRequest{}
	for i := range clusters {
		m.ClusterStats = append(m.ClusterStats, clusterStats(fmt.Sprintf("namespace/service-%d-00001", i), time.Second,
			zoneStats("pods", 100, contract.LoadConcurrency, 3.5, contract.LoadStreams, 1.5, contract.LoadWaiting, 7.0, contract.LoadOldest, 0.5),
			zoneStats("activator", 20, contract.LoadConcurrency, 0.5)))
	}
	body, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var r load_statsv3.LoadStatsRequest
		if err := proto.Unmarshal(body, &r); err != nil {
			b.Fatal(err)
		}
		if got, _ := read(&r, time.Second); len(got.Clusters) != 2*clusters {
			b.Fatal(len(got.Clusters))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/clusters, "ns/cluster")
	b.ReportMetric(float64(len(body))/clusters, "B/cluster-on-wire")
}
