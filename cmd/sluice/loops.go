package main

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
	"sluice.dev/sluice/xds"
)

// loops are the parts that feed each other: the adapter's Worlds go round by translation, xDS and load back to the
// adapter as decisions.
type loops struct {
	adapter   *kube.Adapter
	control   *controlplane.Loop
	scale     *loop.Loop
	scraper   *scrape.Scraper
	processes *process.Runtime
	xds       *xds.Server
	delivery  delivery
	own       []model.Endpoint // the activator of this process
}

// newLoops wires the parts, all but the adapter, which must be set before any of them runs.
func (u *up) newLoops(scaling autoscaler.Config, held *activator.Activator) *loops {
	l := &loops{delivery: newDelivery()}
	if held != nil {
		l.own = endpointsOf(held.Address())
	}
	options := process.Options{
		Dir: u.flags.dataDir, Logger: u.log.Named("process"), Replicas: u.flags.replicas, ActivatorToken: u.token,
		Status: func(s model.WorkloadStatus) { l.adapter.Observe(s) },
	}
	if u.flags.requests {
		options.RequestLog = os.Stdout
	}
	l.processes = process.New(options)
	l.scraper = scrape.New(scrape.Options{Transport: l.processes.Figures()})
	l.scale = loop.New(loop.Options{
		Config: scaling, Logger: u.log.Named("autoscaler"), Scrape: l.scraper.Scrape,
		Decided: func(revision model.Key, uid string, d model.Decision) { l.adapter.Scale(revision, uid, d) },
	})
	l.xds = xds.New(xds.Options{
		Logger: u.log.Named("xds"),
		Progress: func(p xds.Progress) {
			l.delivery.stopwatch.Progressed(p)
			l.control.Acknowledge(p)
		},
		Refused: func(r []xds.Refusal) { l.control.Refuse(r) },
		Clients: l.connected,
		Allow:   u.doors.permits,
		Trust:   u.doors.trusts,
		Loads:   func(r xds.LoadReport) { l.scale.Report(reportOf(r)) },
	})
	l.xds.Waiting("the objects of the Kubernetes API")
	l.control = controlplane.New(controlplane.Options{
		Logger: u.log.Named("controlplane"), Publish: l.delivery.timed(l.xds.Apply),
		Problems:   func(p []model.Problem) { l.adapter.Report(p) },
		Programmed: func(g uint64) { l.adapter.Programmed(g) },
		Reached:    func(g uint64) { l.adapter.Reached(g) },
	})
	return l
}

// scaling is what the adapter tells the autoscaler.
func (l *loops) scaling(config *autoscaler.Config) kube.Scaling {
	return kube.Scaling{
		Set: l.scale.Set, Remove: l.scale.Remove, Running: l.scale.Running, Backed: l.scale.Backed, Check: check(config),
	}
}

// check says what is wrong with a revision's annotations.
func check(config *autoscaler.Config) func(map[string]string) error {
	return func(annotations map[string]string) error { return autoscaler.Validate(config, annotations) }
}

// startLoops runs the parts, each after those that it needs.
func (u *up) startLoops(l *loops) error {
	if err := u.doors.serve(u.stages, l.xds, u.flags.dataDir); err != nil {
		return err
	}
	u.stages.start("autoscaler", func(ctx context.Context) error {
		l.scale.Run(ctx)
		l.scraper.Close()
		return nil
	})
	for _, address := range u.flags.stats {
		u.stages.start("reading "+address, func(ctx context.Context) error { u.readStats(ctx, l.scale, address); return nil })
	}
	u.stages.start("control loop", func(ctx context.Context) error { l.control.Run(ctx); return nil })
	u.stages.start("controllers", l.adapter.Run)
	// The replicas end before what tells of it: gateways and activators elsewhere go on, and must learn whom to leave alone, or
	// the requests that they send would never stop.
	u.stages.start("processes", func(ctx context.Context) error {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		if err := l.processes.Close(bounded); err != nil { // the bound is part of the promise, not a failure
			u.log.Warn("replicas were killed: their requests did not end in time", "bound", drain)
		}
		return nil
	})
	return nil
}

// newActivator makes the activator of this process; nil if there is to be none.
func (u *up) newActivator() (*activator.Activator, error) {
	if u.flags.activator == "none" || u.flags.activator == "" {
		return nil, nil
	}
	listener, err := listen("--activator", u.flags.activator)
	if err != nil {
		return nil, err
	}
	quiet := time.Duration(0)
	if u.flags.gateway != gatewayNone {
		quiet = 50 * time.Millisecond // the gateway has ended before it
	}
	return activator.New(activator.Options{
		XDS: insideTarget, Dial: u.doors.dial(), NodeID: activatorID(), Listener: listener, Logger: u.log.Named("activator"), Drain: drain, Quiet: quiet,
		Limits: activator.Limits{WaitingTotal: heldAtMost(u.flags.replicas)},
	})
}

// connected takes the activators that are connected now, beside our own.
func (l *loops) connected(role uint8, nodes []xds.Node) {
	if role != xds.RoleActivator || l.adapter == nil {
		return
	}
	if all, known := activatorsOf(l.own, nodes); known {
		l.adapter.Activators(all)
	}
}

// activatorsOf are the activators to name to gateways, sorted. With none left they are not known, and the last ones stay: a stream
// that is cut ends no activator, and requests for a revision that sleeps have nowhere else to go. One that is to end says so while
// it is connected, by giving no address.
func activatorsOf(own []model.Endpoint, nodes []xds.Node) (all []model.Endpoint, known bool) {
	all = slices.Clone(own)
	for _, n := range nodes {
		all = append(all, endpointsOf(n.Address)...)
	}
	slices.SortFunc(all, func(a, b model.Endpoint) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port)) })
	return slices.Compact(all), len(own)+len(nodes) > 0
}

// endpointsOf reads an address; none if it is none.
func endpointsOf(address string) []model.Endpoint {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil
	}
	return []model.Endpoint{{Host: a.Addr().String(), Port: int(a.Port())}}
}

// reportOf is a load report in the autoscaler's terms: means instead of sums.
func reportOf(r xds.LoadReport) loop.Report {
	out := loop.Report{
		Reporter: strconv.FormatUint(r.Stream, 10), Activator: r.Role == xds.RoleActivator, Ended: r.Ended,
		Loads: make([]loop.Load, 0, len(r.Clusters)), Over: r.Interval,
	}
	for _, c := range r.Clusters {
		revision, ok := revisionOf(c.Cluster)
		if !ok || !out.Activator && c.Zone != contract.ZonePods {
			continue
		}
		out.Loads = append(out.Loads, loadOf(revision, c))
	}
	return out
}

func loadOf(revision model.Key, c xds.ClusterLoad) loop.Load {
	load := loop.Load{Revision: revision, Waiting: c.Waiting, Concurrency: float64(c.InProgress)}
	seconds := c.Interval.Seconds()
	if seconds <= 0 {
		return load
	}
	load.Requests, load.Over = float64(c.Issued)/seconds, c.Interval
	if c.Averaged {
		load.Concurrency, load.Streams = c.Concurrency/seconds, c.Streams/seconds
	}
	if c.Waiting > 0 {
		// What waits will be there until it is served, though it came but now.
		load.Concurrency = max(load.Concurrency, float64(c.InProgress))
	}
	return load
}

// statsPeriod is how often the statistics of an Envoy are read.
const statsPeriod = time.Second

// readStats reports the load of an Envoy that does not report it itself. While it does not answer, nothing is known of it.
func (u *up) readStats(ctx context.Context, to *loop.Loop, address string) {
	poller := envoy.NewStatsPoller(address)
	defer poller.Close()
	ticker := time.NewTicker(statsPeriod)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		loads, err := poller.Poll(ctx)
		if err != nil {
			if !failing && ctx.Err() == nil {
				u.log.Warn("cannot read the load; until it can be read, nothing that depends on it scales down", "--envoy-stats", address, "error", err)
			}
			failing = true
			continue
		}
		failing = false
		to.Report(statsReport(address, loads))
	}
}

func statsReport(address string, loads []envoy.ClusterLoad) loop.Report {
	report := loop.Report{Reporter: "stats " + address, Whole: true}
	for _, c := range loads {
		revision, ok := revisionOf(c.Cluster)
		if ok && (c.Concurrency > 0 || c.Requests > 0) {
			report.Loads = append(report.Loads, loop.Load{Revision: revision, Concurrency: c.Concurrency, Requests: c.Requests})
		}
	}
	return report
}

// revisionOf reads the name of a revision's cluster.
func revisionOf(cluster string) (model.Key, bool) {
	namespace, name, ok := strings.Cut(cluster, "/")
	return model.Key{Namespace: namespace, Name: name}, ok
}
