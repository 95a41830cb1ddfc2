// Package removal finds what Sluice has left in a cluster, and in which order to delete it so that nothing stays. It reads the cluster and
// changes nothing. It must not know how the objects were made, by which flags or by which version: it goes by labels and owners.
package removal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"sluice.dev/sluice/cmd/sluice/install"
)

const (
	servingGroup = "serving.knative.dev"
	// ofRevisions is a label of the Deployments of revisions.
	ofRevisions = servingGroup + "/revisionUID"
	page        = 500
)

// Item is an object to delete.
type Item struct {
	APIVersion, Kind, Namespace, Name string
}

// kind is a kind of objects, and which of them are Sluice's.
type kind struct {
	schema.GroupVersionResource
	name     string // such as Deployment
	selector string // labels, empty for all
	ours     func(metav1.PartialObjectMetadata) bool
}

// steps are the kinds of a removal. Their order is the order of deletion:
//
//   - Controllers lose their permissions, so that they create nothing any more.
//   - The objects of users go, owners first. What they own is named too, since the garbage collector may find no kind of an owner whose
//     definition is gone.
//   - The definitions, and the rest of the installation.
func steps() []kind {
	serving := func(plural, name string) kind { return all(servingGroup, "v1", plural, name) }
	return []kind{
		labelled("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding"),
		all("autoscaling.sluice.dev", "v1alpha1", "scalerbindings", "ScalerBinding"),
		serving("services", "Service"), serving("routes", "Route"), serving("configurations", "Configuration"),
		serving("revisions", "Revision"), all(servingGroup, "v1beta1", "domainmappings", "DomainMapping"),
		all("autoscaling.sluice.dev", "v1alpha1", "scalingschedules", "ScalingSchedule"),
		all("networking.internal.knative.dev", "v1alpha1", "clusterdomainclaims", "ClusterDomainClaim"),
		all("autoscaling.sluice.dev", "v1alpha1", "revisionscales", "RevisionScale"),
		owned("autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler", ofRevisions),
		owned("apps", "deployments", "Deployment", ofRevisions), owned("", "services", "Service", ""),
		labelled("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
		labelled("admissionregistration.k8s.io", "mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
		labelled("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
		labelled("rbac.authorization.k8s.io", "clusterroles", "ClusterRole"),
	}
}

// inside are the kinds in the namespace of the installation, for a namespace that stays.
func inside() []kind {
	return []kind{
		labelled("apps", "deployments", "Deployment"), labelled("", "services", "Service"),
		labelled("policy", "poddisruptionbudgets", "PodDisruptionBudget"),
		labelled("networking.k8s.io", "networkpolicies", "NetworkPolicy"),
		labelled("rbac.authorization.k8s.io", "rolebindings", "RoleBinding"), labelled("rbac.authorization.k8s.io", "roles", "Role"),
		labelled("", "serviceaccounts", "ServiceAccount"), labelled("", "configmaps", "ConfigMap"),
		labelled("monitoring.coreos.com", "podmonitors", "PodMonitor"),
		labelled("monitoring.coreos.com", "prometheusrules", "PrometheusRule"),
		labelled("", "secrets", "Secret"), named("coordination.k8s.io", "leases", "Lease", install.Lease),
	}
}

func resource(group, version, plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
}

func all(group, version, plural, name string) kind {
	return kind{resource(group, version, plural), name, "", func(metav1.PartialObjectMetadata) bool { return true }}
}

// labelled are the objects that Sluice's installation has.
func labelled(group, plural, name string) kind {
	k := all(group, "v1", plural, name)
	k.selector = install.PartOf + "=sluice"
	return k
}

// owned are the objects that an object of our kinds owns.
func owned(group, plural, name, selector string) kind {
	return kind{resource(group, "v1", plural), name, selector, func(o metav1.PartialObjectMetadata) bool {
		owner := metav1.GetControllerOf(&o)
		return owner != nil && strings.HasPrefix(owner.APIVersion, servingGroup+"/")
	}}
}

func named(group, plural, name, of string) kind {
	return kind{resource(group, "v1", plural), name, "", func(o metav1.PartialObjectMetadata) bool { return o.Name == of }}
}

// Find returns what to delete, in order. What the caller may not list is an error.
func Find(ctx context.Context, client metadata.Interface, namespace string) ([]Item, error) {
	var found []Item
	var failures []error
	add := func(k kind, in string) {
		items, err := list(ctx, client, k, in)
		found, failures = append(found, items...), append(failures, err)
	}
	for _, k := range steps() {
		add(k, "")
	}
	space, err := client.Resource(resource("", "v1", "namespaces")).Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		failures = append(failures, fmt.Errorf("reading the namespace %s: %w", namespace, err))
	case space.Labels[install.PartOf] == "sluice":
		found = append(found, Item{"v1", "Namespace", "", namespace})
	default: // it was there before
		for _, k := range inside() {
			add(k, namespace)
		}
	}
	// A Service that a Route owns may be in the namespace too.
	return slices.Compact(found), errors.Join(failures...)
}

// list returns the objects of a kind, sorted by namespace and name. An API server that does not know the kind has none.
func list(ctx context.Context, client metadata.Interface, k kind, namespace string) ([]Item, error) {
	var items []Item
	options := metav1.ListOptions{LabelSelector: k.selector, Limit: page}
	for {
		objects, err := client.Resource(k.GroupVersionResource).Namespace(namespace).List(ctx, options)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", k.GroupResource(), err)
		}
		for _, o := range objects.Items {
			if k.ours(o) {
				items = append(items, Item{k.GroupVersion().String(), k.name, o.Namespace, o.Name})
			}
		}
		if options.Continue = objects.Continue; options.Continue == "" {
			return items, nil
		}
	}
}
