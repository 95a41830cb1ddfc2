package binding

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

const (
	// statusPace is the shortest time between two writes of a status of which only figures have changed.
	statusPace = 30 * time.Second
	// settleTime is how long a change of the source waits for others, so that one write has them all.
	settleTime = 200 * time.Millisecond
	// secretPace is how often a Secret that is missing or wrong is read again.
	secretPace = 30 * time.Second
)

// Options of a Controller.
type Options struct {
	Logger hclog.Logger
	// Set and Remove get what is to be asked. They must not block.
	Set    func(model.Scaler)
	Remove func(scaler model.Key)
	// CheckTLS returns what is wrong with certificates, as a sentence; empty means nothing.
	CheckTLS func(model.ClientTLS) string
	// Secrets says that the API server has Secrets, Events that it has Events.
	Secrets, Events bool
}

// Controller reconciles ScalerBindings. SetUp adds it to a manager; Status may be called from any goroutine.
type Controller struct {
	options Options
	log     hclog.Logger
	client  client.Client
	direct  client.Reader // Secrets are read from the API server by name, and not cached
	events  events.EventRecorder
	again   chan event.TypedGenericEvent[*autoscalingv1alpha1.ScalerBinding]

	mu      sync.Mutex
	status  map[model.Key]model.ScalerStatus
	written map[model.Key]time.Time
	waiting map[model.Key]bool // to be reconciled for a status
}

// New makes a Controller.
func New(o Options) *Controller {
	return &Controller{
		options: o, log: o.Logger.Named("scaler bindings"),
		again:  make(chan event.TypedGenericEvent[*autoscalingv1alpha1.ScalerBinding], 1024),
		status: map[model.Key]model.ScalerStatus{}, written: map[model.Key]time.Time{}, waiting: map[model.Key]bool{},
	}
}

// SetUp adds the controller to a manager, whose scheme gets the kind.
func (c *Controller) SetUp(m ctrl.Manager) error {
	if err := autoscalingv1alpha1.AddToScheme(m.GetScheme()); err != nil {
		return fmt.Errorf("registering the kinds of scaling: %w", err)
	}
	c.client, c.direct = m.GetClient(), m.GetAPIReader()
	if c.options.Events {
		c.events = m.GetEventRecorder("sluice-controller")
	}
	relabelled := builder.WithPredicates(predicate.LabelChangedPredicate{})
	return ctrl.NewControllerManagedBy(m).Named("scalerbinding").
		For(&autoscalingv1alpha1.ScalerBinding{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&servingv1.Service{}, handler.EnqueueRequestsFromMapFunc(c.ofService), relabelled).
		Watches(&servingv1.Revision{}, handler.EnqueueRequestsFromMapFunc(c.ofRevision), relabelled).
		WatchesRawSource(source.Channel(c.again, &handler.TypedEnqueueRequestForObject[*autoscalingv1alpha1.ScalerBinding]{})).
		Complete(c)
}

// Status takes what became of a Scaler.
func (c *Controller) Status(key model.Key, s model.ScalerStatus) {
	c.mu.Lock()
	before := c.status[key]
	c.status[key] = s
	pace := settleTime
	if !urgent(&before, &s) {
		pace = max(settleTime, time.Until(c.written[key].Add(statusPace)))
	}
	waiting := c.waiting[key]
	c.waiting[key] = true
	c.mu.Unlock()
	if waiting && pace > settleTime {
		return
	}
	time.AfterFunc(pace, func() {
		o := &autoscalingv1alpha1.ScalerBinding{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
		select {
		case c.again <- event.TypedGenericEvent[*autoscalingv1alpha1.ScalerBinding]{Object: o}:
		case <-time.After(statusPace): // the manager has ended
		}
	})
}

// urgent says that a status differs in more than figures.
func urgent(before, after *model.ScalerStatus) bool {
	return before.Known != after.Known || before.Active != after.Active || (before.Problem == "") != (after.Problem == "") ||
		before.FellBack != after.FellBack
}

// ofService lists the bindings that name or select a Service, now or before a change of its labels: they are few, so all of the namespace.
func (c *Controller) ofService(ctx context.Context, o client.Object) []ctrl.Request {
	return c.ofNamespace(ctx, o.GetNamespace())
}

// ofRevision does so for the Service of a revision.
func (c *Controller) ofRevision(ctx context.Context, o client.Object) []ctrl.Request {
	if o.GetLabels()[servingv1.ServiceLabel] == "" {
		return nil
	}
	return c.ofNamespace(ctx, o.GetNamespace())
}

func (c *Controller) ofNamespace(ctx context.Context, namespace string) []ctrl.Request {
	var list autoscalingv1alpha1.ScalerBindingList
	if err := c.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		c.log.Error("cannot list scaler bindings", "namespace", namespace, "error", err)
	}
	requests := make([]ctrl.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = types.NamespacedName{Namespace: namespace, Name: list.Items[i].Name}
	}
	return requests
}

// Reconcile implements reconcile.Reconciler.
func (c *Controller) Reconcile(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	key := model.Key{Namespace: r.Namespace, Name: r.Name}
	b := &autoscalingv1alpha1.ScalerBinding{}
	err := c.client.Get(ctx, r.NamespacedName, b)
	if apierrors.IsNotFound(err) || err == nil && b.DeletionTimestamp != nil {
		c.forget(key)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the ScalerBinding %s: %w", key, err)
	}
	s, problem, err := c.resolve(ctx, b)
	if err != nil {
		return ctrl.Result{}, err
	}
	c.options.Set(s)
	again := ctrl.Result{}
	if problem.again {
		again.RequeueAfter = secretPace
	}
	return again, c.write(ctx, b, &s, problem)
}

func (c *Controller) forget(key model.Key) {
	c.options.Remove(key)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.status, key)
	delete(c.written, key)
	delete(c.waiting, key)
}

// write writes the status where it differs.
func (c *Controller) write(ctx context.Context, b *autoscalingv1alpha1.ScalerBinding, s *model.Scaler, p problem) error {
	key := model.Key{Namespace: b.Namespace, Name: b.Name}
	c.mu.Lock()
	said := c.status[key]
	delete(c.waiting, key)
	c.mu.Unlock()
	after := b.DeepCopy()
	describe(after, s, &said, p)
	if equality.Semantic.DeepEqual(b.Status, after.Status) {
		return nil
	}
	if err := c.client.Status().Update(ctx, after); err != nil {
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil // it comes again by its watch
		}
		return fmt.Errorf("writing the status of the ScalerBinding %s: %w", key, err)
	}
	c.mu.Lock()
	c.written[key] = time.Now()
	c.mu.Unlock()
	c.tell(after, b.Status.Conditions)
	return nil
}

// tell records an Event when the condition Ready has changed.
func (c *Controller) tell(b *autoscalingv1alpha1.ScalerBinding, before []metav1.Condition) {
	is, was := meta.FindStatusCondition(b.Status.Conditions, conditionReady), meta.FindStatusCondition(before, conditionReady)
	if c.events == nil || is.Status == metav1.ConditionUnknown || was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	kind, message := corev1.EventTypeNormal, is.Message
	if is.Status == metav1.ConditionFalse {
		kind = corev1.EventTypeWarning
	}
	c.events.Eventf(b, nil, kind, is.Reason, "Scaling", "%s", message)
}

// revisions returns the revisions that follow a binding, sorted: those of its Services that a Route names. missing are the names of
// Services that there are not.
func (c *Controller) revisions(ctx context.Context,
	b *autoscalingv1alpha1.ScalerBinding) (found []model.Named, missing []string, err error) {
	services, missing, err := c.services(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	var list servingv1.RevisionList
	err = c.client.List(ctx, &list, client.InNamespace(b.Namespace),
		client.MatchingLabels{servingv1.RoutingStateLabel: servingv1.RoutingStateActive})
	if err != nil {
		return nil, nil, fmt.Errorf("listing the revisions of %s: %w", b.Namespace, err)
	}
	for i := range list.Items {
		r := &list.Items[i]
		if services[r.Labels[servingv1.ServiceLabel]] && r.DeletionTimestamp == nil {
			found = append(found, model.Named{Revision: model.Key{Namespace: r.Namespace, Name: r.Name}, UID: string(r.UID)})
		}
	}
	sortNamed(found)
	return found, missing, nil
}

// services returns the names of the Services that a binding names or selects.
func (c *Controller) services(ctx context.Context,
	b *autoscalingv1alpha1.ScalerBinding) (names map[string]bool, missing []string, err error) {
	names = map[string]bool{}
	for _, name := range b.Spec.Services {
		err := c.client.Get(ctx, types.NamespacedName{Namespace: b.Namespace, Name: name}, &servingv1.Service{})
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, name)
		case err != nil:
			return nil, nil, fmt.Errorf("reading the Service %s/%s: %w", b.Namespace, name, err)
		default:
			names[name] = true
		}
	}
	if b.Spec.Selector == nil {
		return names, missing, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		selector = labels.Nothing() // resolve has the problem
	}
	var list servingv1.ServiceList
	if err := c.client.List(ctx, &list, client.InNamespace(b.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, nil, fmt.Errorf("listing the Services of %s: %w", b.Namespace, err)
	}
	for i := range list.Items {
		names[list.Items[i].Name] = true
	}
	return names, missing, nil
}
