package manifest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Apply applies the documents one by one (server-side apply; what a manifest says wins over what was changed by hand). It logs what is
// wrong with a document, and goes on with the next.
func Apply(ctx context.Context, config *rest.Config, documents []Document, log hclog.Logger) error {
	if len(documents) == 0 {
		return nil
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		return fmt.Errorf("applying manifests: %w", err)
	}
	seen := map[string]bool{}
	for _, d := range documents {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.Err == nil {
			d.Err = applyNext(ctx, c, d, seen)
		}
		if d.Err != nil {
			log.Error("cannot apply "+d.Source, "error", InWords(d.Err))
			continue
		}
		log.Info("applied "+strings.ToLower(d.Object.GetKind())+" "+d.Object.GetNamespace()+"/"+d.Object.GetName(), "from", d.Source)
	}
	return nil
}

// settleTime bounds how long an object may take to follow one document before the next one changes it again.
const settleTime = 10 * time.Second

// applyNext applies one document. Documents for one object are steps, such as two revisions one after the other. It waits for a step
// before the next, or the controllers would see only the last.
func applyNext(ctx context.Context, c client.Client, d Document, seen map[string]bool) error {
	if d.Object.GetNamespace() == "" {
		d.Object.SetNamespace("default")
	}
	id := d.Object.GetKind() + " " + d.Object.GetNamespace() + "/" + d.Object.GetName()
	if seen[id] {
		settle(ctx, c, d.Object)
	}
	seen[id] = true
	return apply(ctx, c, d)
}

// settle waits until the object's status has an answer to its newest spec, for at most settleTime.
func settle(ctx context.Context, c client.Client, o *unstructured.Unstructured) {
	bounded, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	_ = wait.PollUntilContextCancel(bounded, 5*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(o.GroupVersionKind())
		if err := c.Get(ctx, client.ObjectKeyFromObject(o), have); err != nil {
			return false, nil
		}
		observed, _, _ := unstructured.NestedInt64(have.Object, "status", "observedGeneration")
		return observed == have.GetGeneration() && decided(have), nil
	})
}

// decided reports whether the condition Ready is True or False.
func decided(o *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == "Ready" {
			return fields["status"] != "Unknown"
		}
	}
	return false
}

func apply(ctx context.Context, c client.Client, d Document) error {
	d.Object.SetManagedFields(nil)
	return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(d.Object), client.FieldOwner("sluice"), client.ForceOwnership)
}

// InWords is what an error of the API means in the user's words.
func InWords(err error) string {
	var status apierrors.APIStatus
	switch {
	case meta.IsNoMatchError(err):
		return err.Error() + ": `sluice up` serves Service, Configuration, Revision and Route of serving.knative.dev/v1, and " +
			"DomainMapping of v1beta1"
	case errors.As(err, &status):
		return status.Status().Message
	}
	return err.Error()
}
