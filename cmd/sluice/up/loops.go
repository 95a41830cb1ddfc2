package up

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/cmd/sluice/load"
	"sluice.dev/sluice/cmd/sluice/metrics"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/crds/convert"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/apiserver"
	"sluice.dev/sluice/standalone/process"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// loops are the parts that feed each other: the adapter's Worlds go by translation, xDS and load back to the adapter as decisions.
type loops struct {
	adapter   *kube.Adapter
	control   *controlplane.Loop
	scale     *loop.Loop
	scraper   *scrape.Scraper
	processes *process.Runtime
	xds       *xds.Server
	own       []model.Endpoint // the activator of this process
}

// newLoops wires the parts. None of them runs yet, so that they can refer to those that are made later.
func (u *Up) newLoops(api *apiserver.Server, held *activator.Activator) (*loops, error) {
	l := &loops{}
	if held != nil {
		l.own = endpointsOf(held.Address())
		u.registry.MustRegister(held.Collector())
	}
	options := process.Options{
		Dir: u.options.DataDir, Logger: u.log.Named("process"), Replicas: u.options.MaxReplicas, Bin: u.bin,
		ActivatorKey: contract.NewSigner(u.token).Key(),
		Status:       func(s model.WorkloadStatus) { l.adapter.Observe(s) },
	}
	if u.options.RequestLog {
		options.RequestLog = &u.announce
	}
	l.processes = process.New(options)
	l.scraper = scrape.New(scrape.Options{Transport: l.processes.Figures()})
	l.scale = loop.New(loop.Options{
		Config: u.scaling, Logger: u.log.Named("autoscaler"), Scrape: l.scraper.Scrape,
		Decided: func(revision model.Key, uid string, d model.Decision) { l.adapter.Scale(revision, uid, d) },
	})
	delivery := metrics.NewDelivery()
	l.xds = xds.New(xds.Options{
		Logger: u.log.Named("xds"),
		Progress: func(p resource.Progress) {
			delivery.Progressed(p)
			l.control.Acknowledge(p)
		},
		Refused: func(r []resource.Refusal) { l.control.Refuse(r) },
		Clients: l.connected,
		Allow:   u.xds.Permits,
		Trust:   u.xds.Trusts,
		Loads:   func(r resource.LoadReport) { l.scale.Report(load.FromLRS(r)) },
	})
	l.xds.Waiting("the objects of the Kubernetes API")
	l.control = controlplane.New(controlplane.Options{
		Logger: u.log.Named("controlplane"), Publish: delivery.Timed(l.xds.Apply),
		Problems:   func(p []model.Problem) { l.adapter.Report(p) },
		Programmed: func(g uint64) { l.adapter.Programmed(g) },
		Reached:    func(g uint64) { l.adapter.Reached(g) },
	})
	u.registry.MustRegister(metrics.Scaling(l.scale.Snapshot), metrics.XDS(l.xds.Stats), delivery)
	if err := u.newAdapter(l, api); err != nil {
		return nil, err
	}
	l.connected(contract.RoleActivator, nil)
	return l, nil
}

// newAdapter makes the last of the loops.
func (u *Up) newAdapter(l *loops, api *apiserver.Server) (err error) {
	l.adapter, err = kube.New(kube.Options{
		Config: api.Config(), Logger: u.log, Gateway: u.gateway, ActivatorToken: u.token, Rollout: u.options.rollout(),
		Worlds: l.control.Offer, Run: l.processes.Run, Unsupported: convert.ProcessProblems,
		Ready: u.announce.service, CollectGarbage: true,
		Scale: kube.Scaling{
			Set: l.scale.Set, Remove: l.scale.Remove, Running: l.scale.Running, Backed: l.scale.Backed, Check: u.checkScaling,
		},
		AwaitActivator: len(l.own) == 0, Waiting: l.xds.Waiting,
		Put: func(ctx context.Context, o client.Object, whole bool) error { return api.Put(ctx, o, whole) },
	})
	return err
}

// startLoops runs the parts, each after those that it needs.
func (u *Up) startLoops(l *loops) error {
	if err := u.xds.Serve(u.parts, l.xds, u.options.DataDir); err != nil {
		return err
	}
	u.parts.Start("autoscaler", func(ctx context.Context) error {
		l.scale.Run(ctx)
		l.scraper.Close()
		return nil
	})
	for _, address := range u.options.EnvoyStats {
		u.parts.Start("reading "+address, func(ctx context.Context) error {
			load.PollStats(ctx, address, u.log, l.scale.Report)
			return nil
		})
	}
	u.parts.Start("control loop", func(ctx context.Context) error { l.control.Run(ctx); return nil })
	u.parts.Start("controllers", l.adapter.Run)
	// The replicas end before the control loop and the xDS server: gateways and activators in other processes go on, and must learn
	// which replicas to leave alone, or would send requests to them until the drain is over.
	u.parts.Start("processes", func(ctx context.Context) error {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.Background(), stage.Drain)
		defer cancel()
		if err := l.processes.Close(bounded); err != nil { // the bound is part of the promise, not a failure
			u.log.Warn("replicas were killed: their requests did not end in time", "bound", stage.Drain)
		}
		return nil
	})
	return nil
}
