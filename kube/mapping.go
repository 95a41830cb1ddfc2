package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"sluice.dev/sluice/crds/convert"
	networkingv1alpha1 "sluice.dev/sluice/crds/networking/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	servingv1beta1 "sluice.dev/sluice/crds/serving/v1beta1"
	"sluice.dev/sluice/kube/world"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

func (a *Adapter) setUpMappings() error {
	ctx, fields := context.Background(), a.manager.GetFieldIndexer()
	err := fields.IndexField(ctx, &servingv1beta1.DomainMapping{}, indexTarget, func(o client.Object) []string {
		return []string{o.(*servingv1beta1.DomainMapping).Spec.Ref.Name}
	})
	if err != nil {
		return err
	}
	err = fields.IndexField(ctx, &servingv1beta1.DomainMapping{}, indexDomain, func(o client.Object) []string {
		return []string{o.GetName()}
	})
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(a.manager).Named("domainmapping").
		For(&servingv1beta1.DomainMapping{}, builder.WithPredicates(a.bySomebodyElse(kindMapping))).
		Watches(&servingv1.Service{}, to(a.mappingsOf), builder.WithPredicates(onlyExistence)).
		Watches(&servingv1.Route{}, to(a.mappingsOf), builder.WithPredicates(onlyExistence)).
		Watches(&networkingv1alpha1.ClusterDomainClaim{}, a.claimants()).
		WatchesRawSource(a.mappings.source()).
		WithOptions(retrying()).
		Complete(a.settling(kindMapping, a.reconcileMapping))
}

// onlyExistence lets through that an object appears or goes.
var onlyExistence = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() }}

// mappingsOf lists the DomainMappings that name a Service or Route.
func (a *Adapter) mappingsOf(ctx context.Context, target client.Object) []string {
	var list servingv1beta1.DomainMappingList
	err := a.client.List(ctx, &list, client.InNamespace(target.GetNamespace()), client.MatchingFields{indexTarget: target.GetName()})
	if err != nil {
		a.log.Error("cannot list domain mappings", "of", keyOf(target), "error", err)
	}
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return names
}

// claimants enqueues the DomainMappings of a claim's domain: all that exist, and that of the claim's namespace even if it does not exist,
// so that the claim is released.
func (a *Adapter) claimants() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []ctrl.Request {
		requests := []ctrl.Request{request(o.(*networkingv1alpha1.ClusterDomainClaim).Spec.Namespace, o.GetName())}
		var list servingv1beta1.DomainMappingList
		if err := a.client.List(ctx, &list, client.MatchingFields{indexDomain: o.GetName()}); err != nil {
			a.log.Error("cannot list domain mappings", "of", o.GetName(), "error", err)
		}
		for i := range list.Items {
			requests = append(requests, request(list.Items[i].Namespace, list.Items[i].Name))
		}
		return requests
	})
}

func (a *Adapter) reconcileMapping(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
	key := model.Key{Namespace: r.Namespace, Name: r.Name}
	mapping, err := find[servingv1beta1.DomainMapping](ctx, a.client, r.Namespace, r.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	if mapping == nil || mapping.DeletionTimestamp != nil {
		a.assembler.RemoveMapping(key)
		a.secrets.Release(model.Ref{Kind: kindMapping, Key: key})
		return ctrl.Result{}, a.releaseClaim(ctx, key)
	}
	in, pair, err := a.mappingInput(ctx, mapping)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := rollout.Mapping(in)
	a.publishMapping(in.Mapping, plan, pair)
	if !a.barrier.IsComplete() {
		a.barrier.Settle(model.Ref{Kind: kindMapping, Key: key})
		return ctrl.Result{RequeueAfter: afterFirstWorld}, nil
	}
	plan.Conditions = a.withProblems(refOf(kindMapping, mapping), plan.Conditions, convert.MappingProblems(mapping))
	return ctrl.Result{}, a.writeMapping(ctx, mapping, plan)
}

// mappingInput reads what a DomainMapping depends on, and the pair of its certificate if there is one. It claims the domain where that is
// allowed.
func (a *Adapter) mappingInput(ctx context.Context,
	m *servingv1beta1.DomainMapping) (in rollout.MappingInput, pair *model.Pair, err error) {
	in = rollout.MappingInput{Mapping: convert.Mapping(m), Options: a.settings.Load().Rollout}
	in.Known, in.Programmed = a.assembler.Serves(in.Mapping.Key)
	if err = a.claim(ctx, &in); err != nil {
		return in, nil, err
	}
	if in.TargetExists, err = a.targetExists(ctx, in.Mapping); err != nil {
		return in, nil, err
	}
	user := model.Ref{Kind: kindMapping, Key: in.Mapping.Key}
	switch {
	case in.Mapping.Secret == "":
		a.secrets.Release(user)
	case a.secrets == nil:
		in.Certificate.Problem = "Secrets cannot be read here: name the files of the certificate with --tls-cert and --tls-key."
	case !a.assembler.Secure():
		in.Certificate.Problem = "The gateway does not listen for HTTPS."
	default:
		secret := model.Key{Namespace: in.Mapping.Key.Namespace, Name: in.Mapping.Secret}
		pair, in.Certificate.Problem = a.secrets.Read(ctx, user, secret)
		if pair != nil {
			in.Certificate.Name = secret.String()
		}
		if pair != nil && in.Certificate.Problem == "" && pair.Leaf.VerifyHostname(m.Name) != nil {
			in.Certificate.Problem = fmt.Sprintf("The certificate in Secret %q is not for the domain %q.", m.Spec.TLS.SecretName, m.Name)
		}
	}
	return in, pair, nil
}

func (a *Adapter) targetExists(ctx context.Context, m *model.Mapping) (bool, error) {
	read := map[string]func(context.Context, client.Reader, string, string) (client.Object, error){
		kindService: findAny[servingv1.Service], kindRoute: findAny[servingv1.Route],
	}[m.Target.Kind]
	if read == nil {
		return false, nil
	}
	target, err := read(ctx, a.client, m.Key.Namespace, m.Target.Key.Name)
	return target != nil, err
}

// claim finds out which namespace has the domain, and claims it where nobody has and the settings allow it. The name of a claim is the
// domain, so the API server lets only one be created.
func (a *Adapter) claim(ctx context.Context, in *rollout.MappingInput) error {
	claim, err := find[networkingv1alpha1.ClusterDomainClaim](ctx, a.client, "", in.Mapping.Key.Name)
	if err != nil {
		return err
	}
	switch {
	case claim != nil:
		in.Claimant = claim.Spec.Namespace
		return nil
	case !in.Options.Claims:
		return nil
	}
	err = a.client.Create(ctx, &networkingv1alpha1.ClusterDomainClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: in.Mapping.Key.Name, Labels: map[string]string{networkingv1alpha1.AutomaticLabel: "true"},
		},
		Spec: networkingv1alpha1.ClusterDomainClaimSpec{Namespace: in.Mapping.Key.Namespace},
	})
	switch {
	case err == nil:
		in.Claimant = in.Mapping.Key.Namespace
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		in.ClaimFailure = err.Error()
	default:
		return fmt.Errorf("claiming the domain %s: %w", in.Mapping.Key.Name, err)
	}
	return nil
}

// releaseClaim deletes the claim of a DomainMapping that is gone, if the controller made it.
func (a *Adapter) releaseClaim(ctx context.Context, key model.Key) error {
	claim, err := find[networkingv1alpha1.ClusterDomainClaim](ctx, a.client, "", key.Name)
	if claim == nil || err != nil || claim.Spec.Namespace != key.Namespace || claim.Labels[networkingv1alpha1.AutomaticLabel] != "true" {
		return err
	}
	// The cache may not have a DomainMapping yet that was created again.
	again, err := find[servingv1beta1.DomainMapping](ctx, a.direct, key.Namespace, key.Name)
	if err != nil || again != nil && again.DeletionTimestamp == nil {
		return err
	}
	return a.remove(ctx, claim)
}

// publishMapping hands the host of a DomainMapping and its certificate to the data plane.
func (a *Adapter) publishMapping(m *model.Mapping, plan rollout.MappingPlan, pair *model.Pair) {
	if !plan.Serve {
		a.assembler.RemoveMapping(m.Key)
		return
	}
	next := &world.Mapping{
		Route: &model.Route{
			Key: m.Key, Owner: model.Ref{Kind: kindMapping, Key: m.Key}, Created: m.Created, Yields: true, Rules: []model.Rule{plan.Rule},
		},
		Target: plan.Target,
	}
	if plan.Rule.Certificate != "" && pair != nil {
		next.Certificate = &model.Certificate{
			Name: plan.Rule.Certificate, Hosts: plan.Rule.Hosts, Chain: pair.Chain, Key: pair.Key,
		}
	}
	a.assembler.SetMapping(next)
}

func (a *Adapter) writeMapping(ctx context.Context, mapping *servingv1beta1.DomainMapping, plan rollout.MappingPlan) error {
	after := mapping.DeepCopy()
	s := &after.Status
	s.ObservedGeneration = after.Generation
	s.Conditions = convert.Conditions(s.Conditions, plan.Conditions, time.Now())
	s.URL, s.Address = plan.URL, &servingv1.Addressable{URL: plan.URL}
	if err := writeStatus(ctx, a, after, mapping.Status, after.Status); err != nil {
		return err
	}
	a.wrote.Put(refOf(kindMapping, after), after.ResourceVersion)
	a.events.Conditions(after, &mapping.Status.Status, &after.Status.Status, "Ready at "+after.Status.URL)
	return nil
}
