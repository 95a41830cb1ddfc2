package preflight

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// metricsGroup is the API of CPU and memory in use, which metrics-server serves.
const metricsGroup = "metrics.k8s.io/v1beta1"

// needsMetrics says whether a Revision is scaled on CPU or memory.
func needsMetrics(revision *unstructured.Unstructured) bool {
	a := revision.GetAnnotations()
	return a["autoscaling.knative.dev/class"] == "hpa.autoscaling.knative.dev" || a["sluice.dev/scale-on-cpu"] != "" ||
		a["sluice.dev/scale-on-memory"] != ""
}

// usage checks that the cluster measures CPU and memory where a revision needs it. It says nothing where none does.
func (c *checker) usage(ctx context.Context) error {
	revisions, err := list(ctx, c.dynamic.Resource(schema.GroupVersionResource{
		Group: "serving.knative.dev", Version: "v1", Resource: "revisions",
	}).List)
	if err != nil {
		return nil //nolint:nilerr // before the installation there are none, and permissions have a check of their own
	}
	first, n := "", 0
	for i := range revisions.Items {
		if r := &revisions.Items[i]; needsMetrics(r) {
			n++
			first = r.GetNamespace() + "/" + r.GetName()
		}
	}
	if n == 0 {
		return nil
	}
	_, err = c.client.Discovery().ServerResourcesForGroupVersion(metricsGroup)
	switch {
	case err == nil:
		c.add(OK, "", "The cluster serves %s, by which %d revisions are scaled.", metricsGroup, n)
	case apierrors.IsNotFound(err):
		c.add(Note, "Install metrics-server. Until then their replicas stay as they are.",
			"The cluster does not serve %s, and %d revisions are scaled on CPU or memory, such as %s.", metricsGroup, n, first)
	default:
		c.add(Note, "See why metrics-server does not answer. Until then their replicas stay as they are.",
			"%s does not answer, and %d revisions are scaled on CPU or memory, such as %s: %v.", metricsGroup, n, first, err)
	}
	return nil
}
