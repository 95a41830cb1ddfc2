package kube

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// Options of an Adapter.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	Logger hclog.Logger
	// Gateway is where the gateway listens; it goes into each World as it is, until another is given to the Adapter.
	Gateway model.Gateway
	// ActivatorToken goes into each World as it is.
	ActivatorToken string
	// Rollout are the settings of planning: domains, scheme, retention.
	Rollout rollout.Options
	// Worlds gets each new World; it must not block.
	Worlds func(*model.World)
	// Run makes the runtime run a Workload; it must not block. What becomes of it comes back through Observe.
	Run func(model.Workload)
	// Scale is where each revision's autoscaler learns of it, or of its end; it must not block. Decisions come back through
	// Scale of the Adapter; without one nothing of a revision runs.
	Scale Scaling
	// Ready is called when a Service becomes ready, and once for one that is so from the start, with its URL; it may be nil.
	Ready func(service model.Key, url string)
	// AwaitActivator has the first World after a restart wait some seconds for an activator: all of them are other processes.
	AwaitActivator bool
	// Waiting is called with what the first World waits for, in words, whenever that has changed much, and with nothing when there
	// is a World; it may be nil.
	Waiting func(what string)
	// Put stores an object of the controllers over the version that it names, past the API server, and sets its new version:
	// the status, and with whole also labels, annotations, generation and spec. It is for an API server in the same process;
	// nil writes over the API, which takes spec and status in one write each.
	Put func(ctx context.Context, o client.Object, whole bool) error
	// Patience is how long the status of a changed Route waits for the gateways to acknowledge the change, so that one write tells
	// both; 0 means 50 ms, within which they do as a rule.
	Patience time.Duration
	// CollectGarbage deletes owned objects when their owner is gone. It is for an API server beside which no
	// garbage collector runs.
	CollectGarbage bool
}

// Scaling is what autoscalers need to be told. None of the functions may block.
type Scaling struct {
	// Set tells of a new or changed revision, Remove of one that is gone.
	Set    func(model.Scaled)
	Remove func(revision model.Key)
	// Running tells what the runtime reports of its replicas.
	Running func(model.WorkloadStatus)
	// Backed tells that from now on all requests of a revision reach an activator, or that it is so no more.
	Backed func(revision model.Key, yes bool)
	// Check returns what is wrong with a revision's annotations; nil means nothing.
	Check func(annotations map[string]string) error
}

// Adapter connects an API server with the loops. Observe, Scale, Activators, Gateway, Programmed, Reached and Report may be called from any goroutine.
type Adapter struct {
	options   Options
	log       hclog.Logger
	manager   manager.Manager
	client    client.Client
	direct    client.Reader // asks the API server itself, not the cache
	assembler *assembler
	backing   *backing
	barrier   *barrier
	problems  notebook[model.Ref, model.Problem]
	fleet     *fleet
	announced notebook[model.Key, string]    // UID of the Service that Ready was last called for
	told      notebook[model.Key, time.Time] // when the data plane was last told something new of a Route
	fresh     notebook[model.Key, version]   // the newest generation of a Service, and when it was first looked at
	leaving   notebook[model.Key, time.Time] // when a revision was first found deleted, until it is stopped
	wrote     notebook[model.Ref, string]    // resourceVersion that the controller of a Service or Route wrote last

	services, revisions, routes trigger
}

// concurrency is how many objects of one kind are worked on at a time. Most of the time of one is spent
// waiting for the API server to write.
const concurrency = 8

// lastRetry is how long an object that could not be reconciled waits for the next try at most: what was in the way may be gone at any
// time, and an outage must not be followed by as long a one.
const lastRetry = 30 * time.Second

// retrying is how a controller tries again what failed: after 5 ms, then after twice as long each time.
func retrying() controller.Options {
	return controller.Options{RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, lastRetry)}
}

// New makes an Adapter; Run starts it.
func New(o Options) (*Adapter, error) {
	ctrl.SetLogger(Bridge(o.Logger.Named("kube")))
	o.Patience = cmp.Or(o.Patience, 50*time.Millisecond)
	scheme := runtime.NewScheme()
	if err := servingv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	mgr, err := ctrl.NewManager(o.Config, ctrl.Options{
		Scheme:  scheme,
		Logger:  Bridge(o.Logger.Named("kube")),
		Metrics: server.Options{BindAddress: "0"},
		Cache: cache.Options{
			// Objects are read and converted, never changed in place, so the cache need not copy them.
			DefaultUnsafeDisableDeepCopy: new(true),
			DefaultTransform:             cache.TransformStripManagedFields(),
		},
		Controller: config.Controller{MaxConcurrentReconciles: concurrency, SkipNameValidation: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the controllers: %w", err)
	}
	a := &Adapter{
		options: o, log: o.Logger.Named("kube"), manager: mgr, client: mgr.GetClient(), direct: mgr.GetAPIReader(),
		assembler: newAssembler(o.Gateway, o.ActivatorToken), barrier: newBarrier(),
	}
	a.backing = newBacking(a.assembler, o.Scale.Backed)
	a.fleet = &fleet{
		run: o.Run, backend: a.backing.setBackend, keep: a.assembler.keep, forget: a.backing.removeBackend,
		members: map[model.Key]*member{},
	}
	for _, setUp := range []func() error{a.index, a.setUpServices, a.setUpConfigurations, a.setUpRevisions, a.setUpRoutes} {
		if err := setUp(); err != nil {
			return nil, fmt.Errorf("setting up the controllers: %w", err)
		}
	}
	for _, run := range []manager.RunnableFunc{a.awaitFirstWorld, a.emitWorlds} {
		if err := mgr.Add(run); err != nil {
			return nil, fmt.Errorf("setting up the controllers: %w", err)
		}
	}
	return a, nil
}

// Run works until the context ends.
func (a *Adapter) Run(ctx context.Context) error {
	if err := a.manager.Start(ctx); err != nil {
		return fmt.Errorf("running the controllers: %w", err)
	}
	return nil
}

// Observe takes what a runtime reports of a revision.
func (a *Adapter) Observe(s model.WorkloadStatus) {
	if !a.fleet.observe(s) {
		return
	}
	a.options.Scale.Running(s)
	a.noteRevision(s.Revision)
}

// Scale takes what a revision's autoscaler decided, and has it carried out at once.
func (a *Adapter) Scale(revision model.Key, uid string, d model.Decision) {
	if a.fleet.scale(revision, uid, d) {
		a.barrier.settle(model.Ref{Kind: kindRevision, Key: revision})
		a.noteRevision(revision)
	}
}

// scaleDelay is how long the status of a revision that scales may lag behind: what follows within it is written at once.
const scaleDelay = 100 * time.Millisecond

// noteRevision has the status of a revision follow what was carried out already. Somebody may wait for a new revision to
// become ready.
func (a *Adapter) noteRevision(revision model.Key) {
	if a.fleet.initialized(revision) {
		a.revisions.addAfter(revision, scaleDelay)
		return
	}
	a.revisions.add(revision)
}

// Activators takes the addresses of all activators that are there now.
func (a *Adapter) Activators(endpoints []model.Endpoint) {
	a.backing.setActivators(endpoints)
	if len(endpoints) > 0 {
		a.barrier.settle(someActivator) // when the assembler has them
	}
}

// Gateway takes where the gateway listens from now on, such as with a certificate that was renewed.
func (a *Adapter) Gateway(g model.Gateway) { a.assembler.setGateway(g) }

// Reached notes that every client, of whatever kind, has acknowledged a World.
func (a *Adapter) Reached(generation uint64) { a.backing.acknowledge(generation) }

// Programmed notes that every gateway has acknowledged a World.
func (a *Adapter) Programmed(generation uint64) {
	for _, route := range a.assembler.acknowledge(generation) {
		a.routes.add(route)
		if _, announced := a.announced.get(route); !announced {
			a.services.add(route) // which has the same name, and may have waited for this to be announced
		}
	}
}

// Report takes all problems that the newest World has; what is not among them is solved.
func (a *Adapter) Report(problems []model.Problem) {
	byOwner := make(map[model.Ref]model.Problem, len(problems))
	for _, p := range problems {
		if _, taken := byOwner[p.Owner]; !taken {
			byOwner[p.Owner] = p
		}
	}
	for _, owner := range a.problems.replace(byOwner, func(a, b model.Problem) bool { return a == b }) {
		switch owner.Kind {
		case kindRoute:
			a.routes.add(owner.Key)
		case kindRevision:
			a.revisions.add(owner.Key)
		default: // no object has a status to show it in
			if p, ok := byOwner[owner]; ok {
				a.log.Error("cannot serve all that was asked for", "of", owner, "reason", p.Reason, "problem", p.Message)
			} else {
				a.log.Info("what could not be served is served now", "of", owner)
			}
		}
	}
}

// emitWorlds hands out the first World when it is complete, and a new World after each change.
func (a *Adapter) emitWorlds(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.barrier.completed:
		a.assembler.signal() // the first World may be empty
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.assembler.changed:
			a.options.Worlds(a.assembler.world())
		}
	}
}
