package up

import (
	"context"
	"path/filepath"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/crds/convert"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/dataplane/tracing/otlp"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/apiserver"
	"sluice.dev/sluice/standalone/history"
	"sluice.dev/sluice/standalone/process"
)

// newLoops wires the loops with the embedded API server and with processes as replicas.
func (u *Up) newLoops(api *apiserver.Server, held *activator.Activator) (l *loops.Loops, processes *process.Runtime, err error) {
	var own []model.Endpoint
	if held != nil {
		own = loops.EndpointsOf(held.Address())
		u.registry.MustRegister(held.Collector())
	}
	options := process.Options{
		Dir: u.options.DataDir, Logger: u.log.Named("process"), Replicas: u.options.MaxReplicas, Bin: u.bin,
		ActivatorKey: contract.NewSigner(u.token).Key(),
		Status:       func(s model.WorkloadStatus) { l.Adapter.Observe(s) },
	}
	if u.options.Tracing.On() {
		u.tracer = tracing.New(tracing.Options{
			Service: tracing.QueueProxy, Instance: transport.NodeID(tracing.QueueProxy), Exporter: otlp.New,
			Logger: u.log.Named("tracing"),
		})
		u.tracer.Configure(u.options.Tracing)
		options.Tracer = u.tracer
	}
	if u.options.RequestLog {
		options.RequestLog = &u.announce
	}
	processes = process.New(options)
	l, err = loops.New(loops.Options{
		Logger: u.log, Registry: u.registry, XDS: u.xds, Scaling: u.scaling, Activators: own,
		Figures: processes.Figures(), Usage: processes.Usage, EnvoyStats: u.options.EnvoyStats, Loopback: true,
		Archive: history.Folder{Path: filepath.Join(u.options.DataDir, "history"), MaxSize: loop.MaxKept},
		Adapter: kube.Options{
			Config: api.Config(), Gateway: u.gateway, ActivatorToken: u.token, Settings: kube.Settings{Rollout: u.options.rollout()},
			Run: processes.Run, Unsupported: convert.ProcessProblems, Ready: u.announce.service, CollectGarbage: true,
			Put: func(ctx context.Context, o client.Object, whole bool) error { return api.Put(ctx, o, whole) },
		},
	})
	return l, processes, err
}

// startLoops runs the loops and then the replicas. The replicas end before the control loop and the xDS server: gateways and activators in
// other processes go on, and must learn which replicas to leave alone, or would send requests to them until the drain is over.
func (u *Up) startLoops(l *loops.Loops, processes *process.Runtime) error {
	if err := l.Start(u.parts, u.options.DataDir); err != nil {
		return err
	}
	u.parts.Start("processes", func(ctx context.Context) error {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.Background(), stage.Drain)
		defer cancel()
		if err := processes.Close(bounded); err != nil { // the bound is part of the promise, not a failure
			u.log.Warn("replicas were killed: their requests did not end in time", "bound", stage.Drain)
		}
		u.tracer.Close(context.Background())
		return nil
	})
	return nil
}
