package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"sluice.dev/sluice/cmd/sluice/install"
)

// manager is the name by which a dry run writes.
const manager = "sluice-check"

// resourceOf is the resource of an object. It guesses the plural, which is right for all kinds of an installation.
func resourceOf(o install.Object) schema.GroupVersionResource {
	plural, _ := meta.UnsafeGuessKindToResource(o.GetObjectKind().GroupVersionKind())
	return plural
}

func (c *checker) of(o install.Object) dynamic.ResourceInterface {
	all := c.dynamic.Resource(resourceOf(o))
	if o.GetNamespace() == "" {
		return all
	}
	return all.Namespace(o.GetNamespace())
}

func describe(o install.Object) string {
	name := o.GetName()
	if o.GetNamespace() != "" {
		name = o.GetNamespace() + "/" + name
	}
	return o.GetObjectKind().GroupVersionKind().Kind + " " + name
}

// owners finds objects with names of the installation that are somebody else's: Knative's definitions, or a namespace that is used.
func (c *checker) owners(ctx context.Context) error {
	foreign, ours := 0, 0
	for _, o := range c.objects {
		have, err := c.of(o).Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		case err == nil && have.GetLabels()[install.PartOf] == "sluice":
			ours++
		case err == nil:
			foreign++
			c.foreign(o, have)
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err): // permissions have a check of their own
			return fmt.Errorf("reading %s: %w", describe(o), err)
		}
	}
	switch {
	case foreign > 0:
	case ours > 0:
		c.add(OK, "", "Sluice is installed already, with %d of %d objects: installing it again updates it.", ours, len(c.objects))
	default:
		c.add(OK, "", "No object with a name of the installation is there, and so no Knative Serving.")
	}
	return nil
}

func (c *checker) foreign(o install.Object, have *unstructured.Unstructured) {
	switch have.GetKind() {
	case "CustomResourceDefinition":
		who := have.GetLabels()["app.kubernetes.io/name"]
		if who == "" {
			who = "somebody else"
		}
		c.add(Lacks, "Two controllers of these kinds would undo each other's work. Remove the other one, or use another cluster.",
			"%s is there, and belongs to %s.", describe(o), who)
	case "Namespace":
		c.add(Note, "Use another --namespace if it is not meant for Sluice. sluice uninstall leaves this one.",
			"%s is there, without the label %s=sluice.", describe(o), install.PartOf)
	default:
		c.add(Lacks, "Rename or delete it, or use another --namespace.",
			"%s is there, without the label %s=sluice: the installation would overwrite it.", describe(o), install.PartOf)
	}
}

// permissions asks whether this user may write each kind of object.
func (c *checker) permissions(ctx context.Context) error {
	var asked, denied []string
	for _, o := range c.objects {
		resource := resourceOf(o)
		for _, verb := range []string{"get", "create", "patch"} {
			key := verb + " " + resource.GroupResource().String()
			if slices.Contains(asked, key) {
				continue
			}
			asked = append(asked, key)
			allowed, err := c.may(ctx, authorizationv1.ResourceAttributes{
				Verb: verb, Group: resource.Group, Resource: resource.Resource, Namespace: o.GetNamespace(),
			})
			if err != nil {
				return err
			}
			if !allowed {
				denied = append(denied, key)
			}
		}
	}
	if len(denied) > 0 {
		c.add(Lacks, "Install with an account that may, such as one with the ClusterRole cluster-admin.",
			"This user may not %s.", strings.Join(denied, ", "))
		return nil
	}
	c.add(OK, "", "This user may write all %d objects.", len(c.objects))
	return nil
}

func (c *checker) may(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("asking what this user may do: %w", err)
	}
	return answer.Status.Allowed, nil
}

// dryRun applies the objects without keeping them. The API server checks them as if they were kept: their schemas, whether this user may
// give permissions away, and what admission webhooks say. Objects in a namespace that is missing cannot be tried.
func (c *checker) dryRun(ctx context.Context) error {
	tried, skipped, refused := 0, 0, 0
	for _, o := range c.objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return fmt.Errorf("writing %s: %w", describe(o), err)
		}
		delete(content, "status")
		_, err = c.of(o).Apply(ctx, o.GetName(), &unstructured.Unstructured{Object: content},
			metav1.ApplyOptions{FieldManager: manager, Force: true, DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil:
			tried++
		case apierrors.IsNotFound(err) && o.GetNamespace() != "":
			skipped++
		default:
			refused++
			c.add(Lacks, "The answer of the API server says what it wants.", "The API server refuses %s: %v.", describe(o), err)
		}
	}
	if refused == 0 {
		c.add(OK, "", "The API server accepts %d objects in a dry run; %d could not be tried before their namespace is there.",
			tried, skipped)
	}
	return nil
}
