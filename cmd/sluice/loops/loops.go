// Package loops wires the parts of the control plane: an adapter's Worlds go by translation, xDS and load back to the adapter as decisions.
// Here loops and adapters meet. The package must not know which API server there is, nor what runs the replicas.
package loops

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/external"
	"sluice.dev/sluice/autoscaler/loop"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/cmd/sluice/load"
	"sluice.dev/sluice/cmd/sluice/metrics"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/controlplane"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/kube/binding"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// Options say what the loops connect.
type Options struct {
	Logger   hclog.Logger
	Registry *prometheus.Registry // gets the metrics of the control plane
	// XDS is where the xDS server listens, and whom it believes.
	XDS *transport.Listeners
	// Scaling are the settings of the autoscaler until Configure replaces them.
	Scaling autoscaler.Config
	// Activators are those of this process. The others are known by their connections to the xDS server.
	Activators []model.Endpoint
	// Figures reaches the queue-proxies; nil is HTTP over the network.
	Figures http.RoundTripper
	// EnvoyStats are addresses of Envoys that do not report their load over LRS.
	EnvoyStats []string
	// PlatformHPA says that the runtime has an autoscaler of its own for revisions of the class HPA.
	PlatformHPA bool
	// Usage measures what replicas use; nil where nothing does. UsagePeriod is the time between two measurements; 0 means that of the loop.
	Usage       func(ctx context.Context, revisions []model.Key, each func(model.Usage))
	UsagePeriod time.Duration
	// Loopback permits ScalerBindings with an address of this machine.
	Loopback bool
	// Adapter are the options of the adapter that do not concern the other loops: which API server, which runtime, which settings.
	Adapter kube.Options
}

// Loops are the parts that feed each other. Adapter may be used once New has returned.
type Loops struct {
	Adapter *kube.Adapter

	options Options
	ready   chan struct{} // closed by known
	known   func()
	control *controlplane.Loop
	scale   *loop.Loop
	outside *external.Runner
	scraper *scrape.Scraper
	xds     *xds.Server
	scaling atomic.Pointer[autoscaler.Config] // of now
}

// New wires the parts. None of them runs yet, so that they can refer to those that are made later.
func New(o Options) (*Loops, error) {
	l := &Loops{options: o, ready: make(chan struct{}), scraper: scrape.New(scrape.Options{Transport: o.Figures})}
	l.scaling.Store(&o.Scaling)
	l.known = sync.OnceFunc(func() { close(l.ready) })
	l.scale = loop.New(loop.Options{
		Config: o.Scaling, Logger: o.Logger.Named("autoscaler"), Scrape: l.scraper.Scrape, Platform: o.PlatformHPA,
		Usage: o.Usage, UsagePeriod: o.UsagePeriod,
		Decided: func(revision model.Key, uid string, d model.Decision) { l.Adapter.Scale(revision, uid, d) },
	})
	bindings := l.newScalers()
	delivery := metrics.NewDelivery()
	l.xds = xds.New(xds.Options{
		Logger: o.Logger.Named("xds"),
		Progress: func(p resource.Progress) {
			delivery.Progressed(p)
			l.control.Acknowledge(p)
		},
		Rejected: func(r []resource.Rejection) { l.control.Reject(r) },
		Clients:  l.connected,
		Allow:    o.XDS.Permits,
		Trust:    o.XDS.Trusts,
		Loads:    func(r resource.LoadReport) { l.scale.Report(load.FromLRS(r)) },
	})
	l.xds.Waiting("the objects of the Kubernetes API")
	l.control = controlplane.New(controlplane.Options{
		Logger: o.Logger.Named("controlplane"), Publish: delivery.Timed(l.xds.Apply),
		Problems:   func(p []model.Problem) { l.Adapter.Report(p) },
		Programmed: func(g uint64) { l.Adapter.Programmed(g) },
		Reached:    func(g uint64) { l.Adapter.Reached(g) },
	})
	o.Registry.MustRegister(metrics.Scaling(l.scale.Snapshot), metrics.XDS(l.xds.Stats), delivery)
	o.Adapter.Controllers = append(o.Adapter.Controllers, bindings.SetUp)
	if err := l.newAdapter(o.Adapter); err != nil {
		return nil, err
	}
	l.connected(contract.RoleActivator, nil)
	return l, nil
}

// Configure replaces the settings of the autoscaler and of the adapter.
func (l *Loops) Configure(scaling autoscaler.Config, settings kube.Settings) {
	l.scaling.Store(&scaling)
	l.scale.Configure(scaling)
	l.Adapter.Configure(settings)
}

// newAdapter makes the last of the parts.
func (l *Loops) newAdapter(o kube.Options) (err error) {
	o.Logger, o.Worlds, o.Waiting, o.AwaitActivator = l.options.Logger, l.control.Offer, l.waiting, len(l.options.Activators) == 0
	o.Scale = kube.Scaling{
		Set: l.scale.Set, Remove: l.scale.Remove, Running: l.running, Backed: l.scale.Backed,
		Check: func(annotations map[string]string) error {
			return errors.Join(autoscaler.ValidateExisting(l.scaling.Load(), annotations), CheckSchedule(annotations))
		},
		Foreign: func(annotations map[string]string) string {
			if class := autoscaler.ClassOf(l.scaling.Load(), annotations); !autoscaler.Known(class) {
				return class
			}
			return ""
		},
		Tasks: func(annotations map[string]string) (bool, int) {
			return autoscaler.ClassOf(l.scaling.Load(), annotations) == autoscaler.Event, autoscaler.MaxWaiting(annotations)
		},
		CheckNew: func(annotations map[string]string) error {
			return errors.Join(autoscaler.Validate(l.scaling.Load(), annotations), CheckSchedule(annotations))
		},
		Schedule: stateOf,
	}
	l.Adapter, err = kube.New(o)
	return err
}

// newScalers makes what asks external scalers, and the controller that says which.
func (l *Loops) newScalers() *binding.Controller {
	var bindings *binding.Controller
	l.outside = external.New(external.Options{
		Logger: l.options.Logger.Named("scalers"), Propose: l.scale.Propose, Withdraw: l.scale.Withdraw, Loopback: l.options.Loopback,
		Status: func(scaler model.Key, s model.ScalerStatus) { bindings.Status(scaler, s) },
	})
	bindings = binding.New(binding.Options{
		Logger: l.options.Logger, Set: l.outside.Set, Remove: l.outside.Remove, CheckTLS: external.CheckTLS,
		Secrets: l.options.Adapter.Secrets, Events: l.options.Adapter.Events,
	})
	return bindings
}

// running takes what the runtime reports of a revision's replicas.
func (l *Loops) running(s model.WorkloadStatus) {
	l.scale.Running(s)
	l.outside.Running(s)
}

// waiting takes what the first World waits for, empty when there is one.
func (l *Loops) waiting(what string) {
	l.xds.Waiting(what)
	if what == "" {
		l.known()
	}
}

// Ready is closed when all objects are known, and clients of the xDS server are answered.
func (l *Loops) Ready() <-chan struct{} { return l.ready }

// Start runs the parts, each after those that it needs. The socket of the xDS server is made in the data directory.
func (l *Loops) Start(parts *stage.Group, dataDir string) error {
	if err := l.options.XDS.Serve(parts, l.xds, dataDir); err != nil {
		return err
	}
	parts.Start("autoscaler", func(ctx context.Context) error {
		l.scale.Run(ctx)
		l.scraper.Close()
		return nil
	})
	parts.Start("scalers", func(ctx context.Context) error { l.outside.Run(ctx); return nil })
	for _, address := range l.options.EnvoyStats {
		parts.Start("reading "+address, func(ctx context.Context) error {
			load.PollStats(ctx, address, l.options.Logger, l.scale.Report)
			return nil
		})
	}
	parts.Start("control loop", func(ctx context.Context) error { l.control.Run(ctx); return nil })
	parts.Start("controllers", l.Adapter.Run)
	return nil
}
