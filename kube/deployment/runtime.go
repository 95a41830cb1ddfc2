package deployment

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/contract"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Options of a Runtime. All are required but Logger and Signer.
type Options struct {
	// Config reaches the API server.
	Config *rest.Config
	// Logger is where starts, ends and failures are logged. nil discards them.
	Logger hclog.Logger
	// Status is called with the status of a workload whenever the status changes: one call at a time, in order, from a goroutine of the
	// Runtime. It may call Run.
	Status func(model.WorkloadStatus)
	// Revision returns a Revision as the API has it, and nil when it is gone. It must not block: it is for a cache.
	Revision func(model.Key) *servingv1.Revision
	// Pods is what all pods have in common, until Configure replaces it.
	Pods Config
	// Signer proves to queue-proxies that a message is from this installation. They get its public key. Without one they believe
	// whoever says that it is an activator, and are not sent the end of the streams of a revision.
	Signer *contract.Signer
}

// Runtime runs workloads as Deployments. It writes nothing but Deployments and
// HorizontalPodAutoscalers of revisions that Run was called with.
type Runtime struct {
	// Set once.
	options Options
	log     hclog.Logger
	cache   cache.Cache // Deployments, HorizontalPodAutoscalers and Pods of revisions, and no others
	client  client.Client

	// Each with a lock of its own.
	writes  workqueue.TypedRateLimitingInterface[model.Key] // revisions whose Deployment may have to change
	reports workqueue.TypedInterface[model.Key]             // revisions whose status may have changed

	// Guarded by mu.
	mu        sync.Mutex
	pods      Config
	members   map[model.Key]*member
	asking    context.Context // of Start, for questions to pods; nil before
	noMetrics bool            // nothing serves metrics.k8s.io
}

// member is what the Runtime knows of one revision.
type member struct {
	workload model.Workload
	removed  bool           // the revision is gone: its Deployment must go
	refused  *model.Failure // why the API server does not take the Deployment
	asked    time.Time      // when replicas were asked for while there were none
	started  time.Time      // when the first process since then was seen
	start    model.Start
	reported bool
	sent     model.WorkloadStatus
	// questions are those to starting pods, and deliveries the ends of streams that pods were sent, both by UID.
	questions  map[types.UID]*question
	deliveries map[types.UID]*delivery
}

const (
	writers    = 8 // Deployments that are written at a time; most of that time waits for the API server
	firstRetry = 20 * time.Millisecond
	lastRetry  = 30 * time.Second
	byRevision = "revisionUID" // index of Pods
)

// New returns a Runtime that runs nothing before Start.
func New(o Options) (*Runtime, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	o.Pods.ActivatorKey = o.Signer.Key().String()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the types of Kubernetes: %w", err)
	}
	ours, err := labels.NewRequirement(servingv1.RevisionUIDLabel, selection.Exists, nil)
	if err != nil {
		return nil, fmt.Errorf("selecting by label: %w", err)
	}
	only := cache.ByObject{Label: labels.NewSelector().Add(*ours)}
	objects, err := cache.New(o.Config, cache.Options{
		Scheme: scheme,
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.Deployment{}: only, &corev1.Pod{}: only, &autoscalingv2.HorizontalPodAutoscaler{}: only,
		},
		DefaultUnsafeDisableDeepCopy: new(true), // objects are read, never changed in place
		DefaultTransform:             cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, fmt.Errorf("watching Deployments and Pods: %w", err)
	}
	c, err := client.New(o.Config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return &Runtime{
		options: o, pods: o.Pods, log: o.Logger.Named("deployment"), cache: objects, client: c, members: map[model.Key]*member{},
		writes: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[model.Key](firstRetry, lastRetry)),
		reports: workqueue.NewTyped[model.Key](),
	}, nil
}

// Run makes the workload run as w says. It returns at once; Options.Status reports the result. Another UID means that the revision was
// created again; its old Deployment is deleted. A workload without a UID has the Deployment of the revision deleted. One that never had
// replicas and should have none gets no Deployment, and is not reported.
func (r *Runtime) Run(w model.Workload) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[w.Revision]
	if m == nil || m.workload.UID != w.UID {
		if m != nil {
			m.stopAsking()
		}
		m = &member{questions: map[types.UID]*question{}, deliveries: map[types.UID]*delivery{}}
		r.members[w.Revision] = m
	}
	if w.Replicas > 0 && m.workload.Replicas == 0 && len(m.sent.Ready) == 0 {
		m.asked, m.started, m.start = time.Now(), time.Time{}, model.Start{}
	}
	m.workload, m.removed = w, w.UID == ""
	r.writes.Add(w.Revision)
	r.reports.Add(w.Revision)
}

// apart is the time between two revisions whose pods a change of the configuration replaces. All at once would need twice the room of all
// revisions for a moment.
const apart = 250 * time.Millisecond

// Configure replaces what all pods have in common. Where that changes the template of a Deployment, Kubernetes replaces its pods one after
// the other, as after any change of a template: each ends when its successor is ready, and drains. Deployments change one after the other
// too. A revision without replicas gets the new template when it next starts at the latest.
func (r *Runtime) Configure(c Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.ActivatorKey = r.options.Signer.Key().String()
	r.pods = c
	after := time.Duration(0)
	for revision, m := range r.members {
		r.reports.Add(revision)
		if m.workload.Replicas == 0 {
			r.writes.Add(revision)
			continue
		}
		r.writes.AddAfter(revision, after)
		after += apart
	}
}

func (r *Runtime) config() Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods
}

// Start works until the context ends. It leaves everything running in the cluster as it is.
func (r *Runtime) Start(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	uid := func(o client.Object) []string { return []string{o.GetLabels()[servingv1.RevisionUIDLabel]} }
	if err := r.cache.IndexField(ctx, &corev1.Pod{}, byRevision, uid); err != nil {
		return fmt.Errorf("watching Pods: %w", err)
	}
	if err := r.follow(ctx, &appsv1.Deployment{}, r.noteDeployment); err != nil {
		return err
	}
	if err := r.follow(ctx, &autoscalingv2.HorizontalPodAutoscaler{}, r.noteDeployment); err != nil {
		return err
	}
	if err := r.follow(ctx, &corev1.Pod{}, r.reports.Add); err != nil {
		return err
	}
	r.mu.Lock()
	r.asking = ctx
	r.mu.Unlock()
	failed := make(chan error, 1)
	all.Go(func() { failed <- r.cache.Start(ctx) })
	if !r.cache.WaitForCacheSync(ctx) {
		return nil // the context has ended
	}
	defer r.reports.ShutDown()
	defer r.writes.ShutDown()
	all.Go(func() { work(r.reports, r.report) })
	for range writers {
		all.Go(func() { work[model.Key](r.writes, func(key model.Key) { r.write(ctx, key) }) })
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("watching Deployments and Pods: %w", err)
	}
}

// follow calls note with the revision of each object of a kind that appears, changes or goes.
func (r *Runtime) follow(ctx context.Context, kind client.Object, note func(model.Key)) error {
	informer, err := r.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching %T: %w", kind, err)
	}
	each := func(o any) {
		if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = last.Obj
		}
		if o, ok := o.(metav1.Object); ok {
			note(model.Key{Namespace: o.GetNamespace(), Name: o.GetLabels()[servingv1.RevisionLabel]})
		}
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: each, UpdateFunc: func(_, o any) { each(o) }, DeleteFunc: each,
	})
	if err != nil {
		return fmt.Errorf("watching %T: %w", kind, err)
	}
	return nil
}

func (r *Runtime) noteDeployment(revision model.Key) {
	r.writes.Add(revision)
	r.reports.Add(revision)
}

// work hands out the keys of a queue until it is shut down.
func work[K comparable](queue workqueue.TypedInterface[K], do func(K)) {
	for {
		key, shutdown := queue.Get()
		if shutdown {
			return
		}
		do(key)
		queue.Done(key)
	}
}

// report reports the status of a revision if it changed. Only one goroutine calls it.
func (r *Runtime) report(revision model.Key) {
	ctx := context.Background() // the cache answers from memory
	if status, changed := r.status(ctx, revision); changed {
		r.options.Status(status)
	}
}

// status returns the status of a revision, and whether it must be reported.
func (r *Runtime) status(ctx context.Context, revision model.Key) (model.WorkloadStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[revision]
	if m == nil || m.removed {
		return model.WorkloadStatus{}, false
	}
	pods, d, err := r.look(ctx, m.workload)
	if err != nil {
		r.log.Error("cannot read the cache", "revision", revision, "error", err)
		return model.WorkloadStatus{}, false
	}
	m.notice(pods, time.Now())
	r.ask(m, pods)
	r.deliver(m, pods)
	status, before := observe(m.workload, pods, d, m.answers()), m.sent.Failure
	if !r.hear(ctx, m.workload, &status) {
		return status, false
	}
	if f := status.Failure; f != nil && r.pods.AlwaysSchedulable && f.Reason == corev1.PodReasonUnschedulable && !f.Lasting {
		status.Failure = nil
	}
	if !m.take(&status, time.Now()) {
		return status, false
	}
	if f := status.Failure; f != nil && !reflect.DeepEqual(f, before) {
		r.log.Warn("replicas do not become ready", "revision", revision, "reason", f.Reason, "message", f.Message)
	}
	return status, true
}

// hear adds to a status what the HorizontalPodAutoscaler of a workload says, if it has one. It reports false when that cannot be read.
func (r *Runtime) hear(ctx context.Context, w model.Workload, status *model.WorkloadStatus) bool {
	if w.HPA == nil {
		return true
	}
	scaler, err := r.scaler(ctx, w)
	if err != nil {
		r.log.Error("cannot read the cache", "revision", w.Revision, "error", err)
		return false
	}
	status.Asked, status.Notes = askedBy(scaler), remarks(scaler)
	return true
}

// take completes what Pods say by what the Runtime knows, and says whether that has not been reported yet.
func (m *member) take(status *model.WorkloadStatus, now time.Time) bool {
	if len(status.Ready) > 0 {
		if !m.reported {
			m.asked = time.Time{} // they were there before this Runtime
		}
		status.Start = m.begun(now)
	} else if m.refused != nil {
		status.Failure = m.refused
	}
	steady(status, &m.sent)
	idle := !m.reported && m.workload.Replicas == 0 && status.Running == 0
	if idle || m.reported && reflect.DeepEqual(*status, m.sent) {
		return false
	}
	m.sent, m.reported = *status, true
	return true
}

// notice notes when a process is seen for the first time since replicas were asked for.
func (m *member) notice(pods []*corev1.Pod, now time.Time) {
	if !m.started.IsZero() || m.asked.IsZero() {
		return
	}
	for _, pod := range pods {
		if hasStarted(m.workload, pod) {
			m.started = now
		}
	}
}

// begun returns the moments of the last start from zero; replicas are ready.
func (m *member) begun(now time.Time) model.Start {
	if m.start.Ready.IsZero() && !m.asked.IsZero() {
		m.start = model.Start{Asked: m.asked, Started: m.started, Ready: now}
	}
	return m.start
}

// look returns the pods and the Deployment of a workload, as the cache has them.
func (r *Runtime) look(ctx context.Context, w model.Workload) ([]*corev1.Pod, *appsv1.Deployment, error) {
	var list corev1.PodList
	err := r.cache.List(ctx, &list, client.InNamespace(w.Revision.Namespace), client.MatchingFields{byRevision: w.UID})
	if err != nil {
		return nil, nil, fmt.Errorf("listing pods: %w", err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	d, err := r.deployment(ctx, w.Revision)
	if d != nil && !metav1.IsControlledBy(d, ownedBy(w)) {
		d = nil
	}
	return pods, d, err
}
