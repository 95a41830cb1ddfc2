package metrics

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/session"
)

// shows fails the test unless a collector shows exactly these samples of these metrics.
func shows(t *testing.T, c prometheus.Collector, samples string) {
	t.Helper()
	var names []string
	var want strings.Builder
	for line := range strings.Lines(strings.TrimLeft(samples, "\n")) {
		name, _, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		names = append(names, name)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = "# HELP " + f.GetName() + " " + f.GetHelp() + "\n# TYPE " + f.GetName() + " " +
			strings.ToLower(f.GetType().String()) + "\n"
	}
	last := ""
	for i, line := range strings.Split(strings.TrimSpace(samples), "\n") {
		if names[i] != last {
			want.WriteString(kinds[names[i]])
			last = names[i]
		}
		want.WriteString(line + "\n")
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want.String()), names...); err != nil {
		t.Error(err)
	}
}

func TestScalingShowsRevisionsThatAreAwake(t *testing.T) {
	revision := model.Key{Namespace: "default", Name: "hello-00001"}
	awake := loop.Row{
		Revision: revision, Ready: 2, Decision: model.Decision{
			Replicas: 3, Stable: 1.5, Panic: 4, Target: 70, Panicking: true, ExcessBurstCapacity: -12, Via: model.ViaActivator,
		},
		Proposals: []model.Proposal{{Signal: "scaler/jobs", Replicas: 3}, {Signal: "scaler/silent", Replicas: model.UnknownReplicas}},
	}
	asleep := loop.Row{Revision: model.Key{Namespace: "default", Name: "hello-00002"}}
	asleep.Decision.Active.Status = model.False
	shows(t, Scaling(func(context.Context) []loop.Row { return []loop.Row{awake, asleep} }), `
sluice_autoscaler_by_activator{namespace="default",revision="hello-00001"} 1
sluice_autoscaler_desired_replicas{namespace="default",revision="hello-00001"} 3
sluice_autoscaler_excess_burst_capacity{namespace="default",revision="hello-00001"} -12
sluice_autoscaler_panic_mode{namespace="default",revision="hello-00001"} 1
sluice_autoscaler_panic_value{namespace="default",revision="hello-00001"} 4
sluice_autoscaler_ready_replicas{namespace="default",revision="hello-00001"} 2
sluice_autoscaler_signal_replicas{namespace="default",revision="hello-00001",signal="scaler/jobs"} 3
sluice_autoscaler_stable_value{namespace="default",revision="hello-00001"} 1.5
sluice_autoscaler_target_value{namespace="default",revision="hello-00001"} 70
sluice_autoscaler_wanted_replicas{namespace="default",revision="hello-00001"} 3
`)
}

func TestXDSShowsWhatTheServerCounts(t *testing.T) {
	stats := xds.Stats{
		Seq: 7, Requests: 40, LoadReports: 3, LoadsDropped: 1,
		Streams: map[string]int{"gateway": 1, "mesh": 0}, Denied: map[string]uint64{"gateway": 2},
		Types: map[string]xds.TypeStats{
			"cds": {Offered: 2, Rejected: 1, Traffic: session.Traffic{Pushes: 5, Bytes: 300, Acks: 4, Nacks: 1}},
		},
	}
	shows(t, XDS(func() xds.Stats { return stats }), `
sluice_xds_acks_total{type="cds"} 4
sluice_xds_clients{role="gateway"} 1
sluice_xds_clients{role="mesh"} 0
sluice_xds_denied_total{role="gateway"} 2
sluice_xds_load_reports_total 3
sluice_xds_loads_dropped_total 1
sluice_xds_nacks_total{type="cds"} 1
sluice_xds_pushed_bytes_total{type="cds"} 300
sluice_xds_pushes_total{type="cds"} 5
sluice_xds_rejected_resources{type="cds"} 1
sluice_xds_requests_total 40
sluice_xds_resources{type="cds"} 2
sluice_xds_sequence 7
`)
}

func TestDeliveryTimesAChangeUntilItsRoleHasIt(t *testing.T) {
	d := NewDelivery()
	d.Progressed(resource.Progress{Role: contract.RoleGateway, Seq: 1, Clients: 1})
	publish := d.Timed(func(resource.Update) uint64 { return 1 })
	if seq := publish(resource.Update{Set: []*resource.Resource{{Roles: contract.RoleGateway}}}); seq != 1 {
		t.Errorf("it was published as %d, want the publisher's 1", seq)
	}
	if n := testutil.CollectAndCount(d, "sluice_xds_acknowledgement_seconds"); n != 1 {
		t.Errorf("%d roles were measured, want the gateway alone", n)
	}
}
