package load

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/resource"
)

var helloRevision = model.Key{Namespace: "default", Name: "hello-00001"}

func TestReportsBecomeMeans(t *testing.T) {
	half := 500 * time.Millisecond
	clusters := []resource.ClusterLoad{
		{Cluster: "default/hello-00001", Zone: "pods", Interval: half, Issued: 10, InProgress: 3, Concurrency: 2, Streams: 0.5,
			Averaged: true},
		{Cluster: "default/hello-00001", Zone: "activator", Interval: half, Issued: 100, InProgress: 100},
		{Cluster: "activator", Zone: "pods", Interval: half, InProgress: 1},
	}
	for name, c := range map[string]struct {
		role     uint8
		clusters []resource.ClusterLoad
		want     []loop.Load
	}{
		"a gateway counts what goes to replicas": {contract.RoleGateway, clusters, []loop.Load{
			{Revision: helloRevision, Concurrency: 4, Streams: 1, Requests: 20, InFlight: 3, Over: half},
		}},
		"an activator counts all": {contract.RoleActivator, clusters[:1], []loop.Load{
			{Revision: helloRevision, Concurrency: 4, Streams: 1, Requests: 20, InFlight: 3, Over: half},
		}},
		"Envoy has no means": {contract.RoleGateway, []resource.ClusterLoad{
			{Cluster: "default/hello-00001", Zone: "pods", Interval: time.Second, Issued: 7, InProgress: 3},
		}, []loop.Load{{Revision: helloRevision, Concurrency: 3, Requests: 7, InFlight: 3, Over: time.Second}}},
		"what waits counts as if it had been there all the time": {contract.RoleActivator, []resource.ClusterLoad{
			{Cluster: "default/hello-00001", Zone: "pods", Interval: time.Second, Issued: 5, InProgress: 5, Concurrency: 0.001, Waiting: 5, Oldest: 0.25,
				Averaged: true},
		}, []loop.Load{{Revision: helloRevision, Concurrency: 5, Requests: 5, Waiting: 5, InFlight: 5,
			Oldest: time.Second / 4, Over: time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := FromLRS(resource.LoadReport{Role: c.role, Stream: 7, Interval: half, Clusters: c.clusters})
			want := loop.Report{Reporter: "7", Activator: c.role == contract.RoleActivator, Loads: c.want, Over: half}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEnvoysStatisticsScaleARevision(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]int{"active": 280, "total": 1000, "pending_active": 0} {
			fmt.Fprintf(w, "# TYPE envoy_cluster_upstream_rq_%s gauge\n", name)
			fmt.Fprintf(w, "envoy_cluster_upstream_rq_%s{envoy_cluster_name=\"default/hello-00001\"} %d\n", name, value)
		}
	}))
	defer page.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	replicas := make(chan int, 100)
	l := loop.New(loop.Options{Decided: func(_ model.Key, _ string, d model.Decision) { replicas <- d.Replicas }})
	go l.Run(ctx)
	go PollStats(ctx, strings.TrimPrefix(page.URL, "http://"), hclog.NewNullLogger(), l.Report)
	l.Set(model.Scaled{
		Revision: helloRevision, UID: "1", Source: model.FromEnvoy,
		Annotations: map[string]string{"autoscaling.knative.dev/window": "6s"},
		Before:      model.Before{Replicas: 1, Active: model.True, Initialized: true},
	})
	l.Running(model.WorkloadStatus{Revision: helloRevision, UID: "1", Ready: make([]model.Endpoint, 1)})
	deadline := time.After(2 * time.Minute)
	for {
		select {
		case n := <-replicas:
			if n == 4 { // 280 at 70 each
				return
			}
		case <-deadline:
			t.Fatal("280 requests in progress did not become four replicas")
		}
	}
}
