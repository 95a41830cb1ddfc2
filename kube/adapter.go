package kube

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
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

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	networkingv1alpha1 "sluice.dev/sluice/crds/networking/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube/events"
	"sluice.dev/sluice/kube/fleet"
	"sluice.dev/sluice/kube/images"
	"sluice.dev/sluice/kube/notebook"
	"sluice.dev/sluice/kube/schedule"
	"sluice.dev/sluice/kube/secret"
	"sluice.dev/sluice/kube/world"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// Options of an Adapter.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	Logger hclog.Logger
	// Gateway is where the gateway listens. It goes into each World as it is; the method Gateway replaces it.
	Gateway model.Gateway
	// ActivatorToken goes into each World as it is.
	ActivatorToken string
	// Settings are those of the start; the method Configure replaces them.
	Settings
	// Worlds gets each new World; it must not block.
	Worlds func(*model.World)
	// Run makes the runtime run a Workload; it must not block. The runtime reports its state through Observe.
	Run func(model.Workload)
	// Unsupported returns what a Revision needs and the runtime lacks; the first one becomes its condition, and it does not run. nil means
	// that the runtime lacks nothing. It must not change the Revision.
	Unsupported func(*servingv1.Revision) []model.Problem
	// Feature says whether a key of Knative's config-features is enabled on which a field of a Revision's pods depends (see
	// servingv1.Need); nil means that none is.
	Feature func(key string) bool
	// Digests resolve images; a zero one leaves them as users name them.
	Digests images.Digests
	// Scale informs the autoscalers of revisions; it must not block. Their decisions come back through the method Scale; a revision
	// without a decision does not run.
	Scale Scaling
	// Ready is called with the URL of a Service when it becomes ready, and once for one that is ready at the start; it may be nil.
	Ready func(service model.Key, url string)
	// AwaitActivator has the first World after a restart wait some seconds for an activator. Set it when all activators are other
	// processes.
	AwaitActivator bool
	// Waiting is called with a sentence that says what the first World waits for, whenever that changes, and with an empty one when there
	// is a World; it may be nil.
	Waiting func(what string)
	// Put stores an object of the controllers without a call to the API server, and sets its new resourceVersion. It fails unless the
	// stored object has the resourceVersion that o has. It writes the status, and with whole also labels, annotations, generation and
	// spec. It is for an API server in the same process. When it is nil, the adapter uses the API, with one write for the spec and one
	// for the status.
	Put func(ctx context.Context, o client.Object, whole bool) error
	// Patience is how long the status of a changed Route waits for the gateways to acknowledge the change, so that one write has both;
	// 0 means 50 ms, which is usually enough.
	Patience time.Duration
	// Events records Kubernetes Events about the objects of users. It is for an API server that has this kind.
	Events bool
	// LocalGateway is the DNS name of the Service of the gateways for hosts within the cluster. With it, each Route has placeholder
	// Services that lead there. Empty means that there are none.
	LocalGateway string
	// Secrets says that the API server has Secrets, so that DomainMappings may name some.
	Secrets bool
	// DefaultCertificate is the Secret whose certificate the gateway serves for all names that no other has; the zero Key is none.
	DefaultCertificate model.Key
	// Controllers add further controllers, of kinds that the adapter itself does not know.
	Controllers []func(ctrl.Manager) error
	// CollectGarbage deletes owned objects when their owner is gone. It is for an API server without a garbage collector.
	CollectGarbage bool
}

// Settings are the parts of an installation's configuration that may change while an Adapter runs.
type Settings struct {
	// Rollout are the settings of planning: domains, scheme, retention, progress deadline.
	Rollout rollout.Options
	// Defaults are what new revisions get, and what their templates may ask for; nil means Knative's own.
	Defaults *servingv1.Defaults
}

// Scaling are the functions that inform autoscalers. None of them may block.
type Scaling struct {
	// Set adds or changes a revision, Remove removes one.
	Set    func(model.Scaled)
	Remove func(revision model.Key)
	// Running takes what the runtime reports of its replicas.
	Running func(model.WorkloadStatus)
	// Backed says whether, from now on, all requests of a revision reach an activator.
	Backed func(revision model.Key, yes bool)
	// Check returns what is wrong with a revision's annotations; nil means nothing.
	Check func(annotations map[string]string) error
	// Foreign returns the class of a revision with these annotations when others scale that class, else nothing. It may be nil: then it is
	// always nothing.
	Foreign func(annotations map[string]string) string
	// Tasks says whether each request of a revision with these annotations is a task, and how many may wait; 0 leaves that to activators.
	// It may be nil: then none is.
	Tasks func(annotations map[string]string) (yes bool, maxWaiting int)
	// CheckNew does so for a revision that is to be created, by the configuration of now. A revision that exists must not stop when the
	// configuration changes. It may be nil: then the configuration never changes, and Check has it.
	CheckNew func(annotations map[string]string) error
	// Schedule returns what a schedule asks for at a moment, or what is wrong with it. With nil no schedule is followed.
	Schedule schedule.Evaluate
}

// Adapter connects an API server with the loops. Observe, Scale, Activators, Gateway, Configure, Programmed, Reached and Report may be
// called from any goroutine.
type Adapter struct {
	// Set once.
	options Options
	log     hclog.Logger
	manager manager.Manager
	client  client.Client
	direct  client.Reader // reads from the API server, not from the cache

	// Each with a lock of its own.
	assembler *world.Assembler
	backing   *world.Backing
	barrier   *world.Barrier
	fleet     *fleet.Fleet
	events    *events.Recorder
	images    *images.Resolver
	schedules *schedule.Book
	problems  notebook.Notebook[model.Ref, model.Problem] // of the newest World
	announced notebook.Notebook[model.Key, string]        // UID of the Service that Ready was last called for
	changed   notebook.Notebook[model.Key, time.Time]     // when the rules of a Route last changed
	refused   notebook.Notebook[model.Key, refusal]       // of a Service, why the API server does not take its Route
	fresh     notebook.Notebook[model.Key, version]       // the newest generation of a Service, and when it was first reconciled
	leaving   notebook.Notebook[model.Key, time.Time]     // when a revision was first found deleted, until it is stopped
	wrote     notebook.Notebook[model.Ref, string]        // resourceVersion that the controller of a Service or Route wrote last

	services, configurations, revisions, routes, mappings trigger

	settings atomic.Pointer[Settings]
	outdated *outdated      // by a change of settings
	secrets  *secret.Reader // nil where the API server has none

	certificate chan struct{} // receives when the Secret of the default certificate has changed
}

// concurrency is how many objects of one kind are reconciled at a time. Most of that time goes into waiting for the API server to
// write.
const concurrency = 8

// lastRetry is the longest back-off of an object whose reconciliation fails. The cause may be over at any time, and a long outage must not
// be followed by a long back-off.
const lastRetry = 30 * time.Second

// retrying has a controller retry failed reconciliations with an exponential back-off from 5 ms to lastRetry.
func retrying() controller.Options {
	return controller.Options{
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, lastRetry),
	}
}

// cached are the kinds of which the cache has a part only.
func (o *Options) cached() map[client.Object]cache.ByObject {
	if o.LocalGateway == "" {
		return nil // the API server may not have the kind
	}
	return map[client.Object]cache.ByObject{&corev1.Service{}: {Label: placeholders()}}
}

// eventConfig reaches the API server for Events; nil means that there are none.
func (o *Options) eventConfig() *rest.Config {
	if !o.Events {
		return nil
	}
	return o.Config
}

// newScheme returns a scheme that knows all types that the adapter reads.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		servingv1.AddToScheme, servingv1beta1.AddToScheme, networkingv1alpha1.AddToScheme,
		autoscalingv1alpha1.AddToScheme, corev1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering the API types: %w", err)
		}
	}
	return scheme, nil
}

// New makes an Adapter; Run starts it.
func New(o Options) (*Adapter, error) {
	ctrl.SetLogger(Bridge(o.Logger.Named("kube")))
	o.Patience = cmp.Or(o.Patience, 50*time.Millisecond)
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(o.Config, ctrl.Options{
		Scheme:  scheme,
		Logger:  Bridge(o.Logger.Named("kube")),
		Metrics: server.Options{BindAddress: "0"},
		Cache: cache.Options{
			// Objects are read and converted, never changed in place, so the cache need not copy them.
			DefaultUnsafeDisableDeepCopy: new(true),
			DefaultTransform:             cache.TransformStripManagedFields(),
			ByObject:                     o.cached(),
		},
		Controller: config.Controller{MaxConcurrentReconciles: concurrency, SkipNameValidation: new(true)},
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the controllers: %w", err)
	}
	a := &Adapter{
		options: o, log: o.Logger.Named("kube"), manager: mgr, client: mgr.GetClient(), direct: mgr.GetAPIReader(),
		assembler: world.NewAssembler(o.Gateway, o.ActivatorToken), barrier: world.NewBarrier(), outdated: newOutdated(),
		certificate: make(chan struct{}, 1), schedules: schedule.NewBook(o.Scale.Schedule),
	}
	if a.events, err = events.New(o.eventConfig(), scheme); err != nil {
		return nil, err
	}
	a.settings.Store(o.Settings.complete())
	if o.Secrets {
		if a.secrets, err = secret.New(o.Config, a.secretChanged); err != nil {
			return nil, fmt.Errorf("setting up the controllers: %w", err)
		}
	}
	a.backing = world.NewBacking(a.assembler, o.Scale.Backed)
	a.fleet = fleet.New(fleet.Outputs{
		Run: o.Run, Backend: a.backing.SetBackend, Keep: a.assembler.Keep, Forget: a.backing.RemoveBackend,
	})
	a.images = images.New(o.Digests, func(revision model.Key) { a.revisions.add(revision) })
	for _, setUp := range []func() error{
		a.index, a.setUpServices, a.setUpConfigurations, a.setUpRevisions, a.setUpRoutes, a.setUpMappings, a.setUpSchedules,
	} {
		if err := setUp(); err != nil {
			return nil, fmt.Errorf("setting up the controllers: %w", err)
		}
	}
	for _, add := range o.Controllers {
		if err := add(mgr); err != nil {
			return nil, fmt.Errorf("setting up the controllers: %w", err)
		}
	}
	for _, run := range []manager.RunnableFunc{a.awaitFirstWorld, a.emitWorlds, a.followSettings, a.followSecrets, a.events.Run} {
		if err := mgr.Add(run); err != nil {
			return nil, fmt.Errorf("setting up the controllers: %w", err)
		}
	}
	return a, nil
}

// fillPatience is how long the end waits for caches that are not filled yet, which may be for lack of a right.
const fillPatience = 3 * time.Second

// Run works until the context ends.
func (a *Adapter) Run(ctx context.Context) error {
	defer a.images.Stop()
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.manager.Start(running) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		// Ended before its caches are filled, the manager of controller-runtime 0.25 would never return, and keep a core busy. Without an
		// election of its own it counts as elected once they are.
		select {
		case <-a.manager.Elected():
			stop()
			err = <-ended
		case <-time.After(fillPatience):
			a.log.Warn("the caches of the controllers were never filled: see which objects could not be read")
			go func() {
				<-a.manager.Elected()
				stop()
			}()
			return nil
		}
	}
	stop()
	if err != nil {
		return fmt.Errorf("running the controllers: %w", err)
	}
	return nil
}

// Observe takes what a runtime reports of a revision.
func (a *Adapter) Observe(s model.WorkloadStatus) {
	if !a.fleet.Observe(s) {
		return
	}
	a.options.Scale.Running(s)
	a.noteRevision(s.Revision)
}

// Revision returns a Revision as the cache has it, and nil when it is gone. It must not be changed.
func (a *Adapter) Revision(key model.Key) *servingv1.Revision {
	r, err := find[servingv1.Revision](context.Background(), a.client, key.Namespace, key.Name) // the cache answers from memory
	if err != nil {
		a.log.Error("cannot read the cache", "revision", key, "error", err)
	}
	return r
}

// Scale takes a decision of a revision's autoscaler, and carries it out at once.
func (a *Adapter) Scale(revision model.Key, uid string, d model.Decision) {
	if a.fleet.Scale(revision, uid, d) {
		a.barrier.Settle(model.Ref{Kind: kindRevision, Key: revision})
		a.noteRevision(revision)
	}
}

// scaleDelay is how long the status of a revision that scales may lag behind, so that one write has all changes of that time.
const scaleDelay = 100 * time.Millisecond

// noteRevision has the status of a revision follow. A new revision is reconciled without delay, because users may wait until it is
// ready.
func (a *Adapter) noteRevision(revision model.Key) {
	if a.fleet.Initialized(revision) {
		a.revisions.addAfter(revision, scaleDelay)
		return
	}
	a.revisions.add(revision)
}

// Activators takes the addresses of all activators that are there now.
func (a *Adapter) Activators(endpoints []model.Endpoint) {
	a.backing.SetActivators(endpoints)
	if len(endpoints) > 0 {
		a.barrier.Settle(world.SomeActivator) // when the assembler has them
	}
}

// Gateway replaces where the gateway listens, and its certificates, such as after a renewal.
func (a *Adapter) Gateway(g model.Gateway) { a.assembler.SetGateway(g) }

// Reached notes that every client, of whatever kind, has acknowledged a World.
func (a *Adapter) Reached(generation uint64) { a.backing.Acknowledge(generation) }

// Programmed notes that every gateway has acknowledged a World.
func (a *Adapter) Programmed(generation uint64) {
	for _, owner := range a.assembler.Acknowledge(generation) {
		route := owner.Key
		if owner.Kind == kindMapping {
			a.mappings.add(route)
			continue
		}
		a.routes.add(route)
		if _, announced := a.announced.Get(route); !announced {
			a.services.add(route) // the Service of that name may have waited for this to be announced
		}
	}
}

// Report takes all problems of the newest World. A problem that is not among them is solved.
func (a *Adapter) Report(problems []model.Problem) {
	byOwner := make(map[model.Ref]model.Problem, len(problems))
	for _, p := range problems {
		if _, taken := byOwner[p.Owner]; !taken {
			byOwner[p.Owner] = p
		}
	}
	for _, owner := range a.problems.Replace(byOwner, func(a, b model.Problem) bool { return a == b }) {
		switch owner.Kind {
		case kindRoute:
			a.routes.add(owner.Key)
		case kindRevision:
			a.revisions.add(owner.Key)
		case kindMapping:
			a.mappings.add(owner.Key)
		default: // there is no object whose status could show it
			if p, ok := byOwner[owner]; ok {
				a.log.Error("cannot serve all that was asked for", "of", owner, "reason", p.Reason, "problem", p.Message)
			} else {
				a.log.Info("all that was asked for is served again", "of", owner)
			}
		}
	}
}

// emitWorlds hands out the first World when it is complete, and a new World after each change.
func (a *Adapter) emitWorlds(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.barrier.Completed():
		a.assembler.Signal() // the first World may be empty
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.assembler.Changed():
			a.options.Worlds(a.assembler.World())
		}
	}
}
