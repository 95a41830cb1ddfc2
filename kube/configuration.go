package kube

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube/events"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// betweenRetirements is the time between two checks for revisions that are old enough to go; the rules count in hours.
const betweenRetirements = 10 * time.Minute

// afterRefusal is when a revision that was refused is created again: whatever refused it, such as a quota, may have changed.
const afterRefusal = time.Minute

func (a *Adapter) setUpConfigurations() error {
	return ctrl.NewControllerManagedBy(a.manager).Named("configuration").
		For(&servingv1.Configuration{}).
		Watches(&servingv1.Revision{}, to(a.madeBy)).
		Watches(&servingv1.Revision{}, to(a.wanting), builder.WithPredicates(onlyDeletion)).
		Watches(&servingv1.Service{}, to(itself), builder.WithPredicates(onlyDeletion)).
		WatchesRawSource(a.configurations.source()).
		WithOptions(retrying()).
		Complete(a.onceComplete(a.reconcileConfiguration))
}

// madeBy returns the Configuration that made a revision.
func (a *Adapter) madeBy(_ context.Context, revision client.Object) []string {
	return []string{revision.GetLabels()[servingv1.ConfigurationLabel]}
}

// wanting returns the Configurations that need the name of a deleted revision for a revision of their own.
func (a *Adapter) wanting(ctx context.Context, revision client.Object) []string {
	var all servingv1.ConfigurationList
	here, byName := client.InNamespace(revision.GetNamespace()), client.MatchingFields{indexWanted: revision.GetName()}
	if err := a.client.List(ctx, &all, here, byName); err != nil {
		a.log.Error("cannot list configurations", "wanting", revision.GetName(), "error", err)
	}
	names := make([]string, len(all.Items))
	for i := range all.Items {
		names[i] = all.Items[i].Name
	}
	return names
}

// wantedName returns the name that the newest revision of a Configuration has, or is to have.
func wantedName(c *servingv1.Configuration) string {
	return cmp.Or(c.Spec.Template.Metadata.Name, rollout.RevisionName(c.Name, c.Generation))
}

func (a *Adapter) reconcileConfiguration(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	configuration, err := find[servingv1.Configuration](ctx, a.client, r.Namespace, r.Name)
	if err != nil || configuration == nil {
		return ctrl.Result{}, err
	}
	if gone, err := a.collected(ctx, configuration); gone || err != nil {
		return ctrl.Result{}, err
	}
	value := convert.Configuration(configuration)
	wanted := wantedName(configuration)
	revisions, err := a.revisionsOf(ctx, r.Namespace, r.Name, wanted)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan, again := rollout.Configure(value, revisions), betweenRetirements
	if plan.Create != "" {
		refused, err := a.createRevision(ctx, configuration, plan.Create)
		if err != nil {
			return ctrl.Result{}, err
		}
		if refused != "" {
			plan, again = plan.Refused(value, refused), afterRefusal
		}
	}
	after := configuration.DeepCopy()
	after.Status.ObservedGeneration = after.Generation
	after.Status.LatestCreatedRevisionName, after.Status.LatestReadyRevisionName = plan.LatestCreated, plan.LatestReady
	after.Status.Conditions = convert.Conditions(after.Status.Conditions, plan.Conditions, time.Now())
	if err := writeStatus(ctx, a, after, configuration.Status, after.Status); err != nil {
		return ctrl.Result{}, err
	}
	if !events.IsOwned(after) {
		a.events.Conditions(after, &configuration.Status.Status, &after.Status.Status, "Ready with the revision "+plan.LatestReady)
	}
	return ctrl.Result{RequeueAfter: again}, a.retire(ctx, value, revisions)
}

// createRevision creates the revision of a Configuration's template. Where the configuration or the API server refuses it, it returns why.
func (a *Adapter) createRevision(ctx context.Context, c *servingv1.Configuration, name string) (refused string, err error) {
	defaults := a.settings.Load().Defaults
	revision := convert.RevisionOf(c, name, defaults)
	for _, wrong := range defaults.Bounds.Check(&revision.Spec) {
		return fmt.Sprintf("%s: spec.template.spec.%s", wrong.Message, wrong.Field), nil
	}
	if check := a.options.Scale.CheckNew; check != nil {
		if err := check(revision.Annotations); err != nil {
			return err.Error(), nil
		}
	}
	err = a.client.Create(ctx, revision)
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return err.Error(), nil
	}
	if err == nil {
		a.events.Tell(events.Subject(c), corev1.EventTypeNormal, events.ReasonRevisionCreated, "Created the revision "+name)
	}
	return "", err
}

// retire deletes revisions that no Route names any more, by the rules of retention.
func (a *Adapter) retire(ctx context.Context, c *model.Configuration, revisions []*model.Revision) error {
	for _, old := range rollout.Retire(c, revisions, a.settings.Load().Rollout.Retention, time.Now()) {
		a.log.Info("retiring a revision that no route names", "revision", old.Key)
		gone := &servingv1.Revision{}
		gone.Namespace, gone.Name = old.Key.Namespace, old.Key.Name
		gone.UID = uid(old.UID)
		if err := a.remove(ctx, gone); err != nil {
			return err
		}
	}
	return nil
}

// revisionsOf lists the revisions that a Configuration made, and another one that has the name it asks for.
func (a *Adapter) revisionsOf(ctx context.Context, namespace, configuration, wanted string) ([]*model.Revision, error) {
	var made servingv1.RevisionList
	err := a.client.List(ctx, &made, client.InNamespace(namespace), client.MatchingFields{indexConfiguration: configuration})
	if err != nil {
		return nil, err
	}
	revisions := make([]*model.Revision, 0, len(made.Items)+1)
	found := wanted == ""
	for i := range made.Items {
		revisions = append(revisions, convert.Revision(&made.Items[i]))
		found = found || made.Items[i].Name == wanted
	}
	if found {
		return revisions, nil
	}
	other, err := find[servingv1.Revision](ctx, a.client, namespace, wanted)
	if err == nil && other != nil {
		revisions = append(revisions, convert.Revision(other))
	}
	return revisions, err
}
