package apiserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestDefaults(t *testing.T) {
	tests := []struct{ name, resource, manifest, want string }{
		{"a Service of one image, as kn sends it", "services",
			`{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: a},
			  spec: {template: {metadata: {creationTimestamp: null}, spec: {containers: [{image: a, name: "", resources: {}}]}}}}`,
			`{template: {spec: {containerConcurrency: 0, timeoutSeconds: 300, enableServiceLinks: false,
			    containers: [{image: a, name: user-container, readinessProbe: {tcpSocket: {}, successThreshold: 1}}]}},
			  traffic: [{latestRevision: true, percent: 100}]}`},
		{"a Service with traffic and an empty list", "services",
			`{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: b},
			  spec: {template: {spec: {timeoutSeconds: 0, containers: [{image: a}]}}, traffic: []}}`,
			`{template: {spec: {containerConcurrency: 0, timeoutSeconds: 300, enableServiceLinks: false,
			    containers: [{image: a, name: user-container, readinessProbe: {tcpSocket: {}, successThreshold: 1}}]}},
			  traffic: [{latestRevision: true, percent: 100}]}`},
		{"what the user says stays", "services",
			`{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: c},
			  spec: {template: {spec: {timeoutSeconds: 600, containerConcurrency: 7, enableServiceLinks: true,
			    containers: [{image: a, name: x, readinessProbe: {httpGet: {path: /healthz, port: 0}, periodSeconds: 5}}]}},
			    traffic: [{percent: 90}, {revisionName: c-1, percent: 10}, {revisionName: c-0, tag: old}]}}`,
			`{template: {spec: {timeoutSeconds: 600, responseStartTimeoutSeconds: 300, containerConcurrency: 7, enableServiceLinks: true,
			    containers: [{image: a, name: x, readinessProbe: {httpGet: {path: /healthz}, periodSeconds: 5, successThreshold: 1, failureThreshold: 3, timeoutSeconds: 1}}]}},
			  traffic: [{latestRevision: true, percent: 90}, {latestRevision: false, revisionName: c-1, percent: 10}, {latestRevision: false, revisionName: c-0, percent: 0, tag: old}]}`},
		{"several containers and read-only mounts", "configurations",
			`{apiVersion: serving.knative.dev/v1, kind: Configuration, metadata: {name: d},
			  spec: {template: {spec: {volumes: [{name: s, secret: {secretName: s}}, {name: e, emptyDir: {}}],
			    containers: [{image: a}, {image: b, ports: [{containerPort: 80}], volumeMounts: [{name: s, mountPath: /s}, {name: e, mountPath: /e}]}, {image: c, name: user-container-1}]}}}}`,
			`{template: {spec: {containerConcurrency: 0, timeoutSeconds: 300, enableServiceLinks: false, volumes: [{name: s, secret: {secretName: s}}, {name: e, emptyDir: {}}],
			    containers: [{image: a, name: user-container-0},
			      {image: b, name: user-container-2, ports: [{containerPort: 80}], readinessProbe: {tcpSocket: {}, successThreshold: 1}, volumeMounts: [{name: s, mountPath: /s, readOnly: true}, {name: e, mountPath: /e}]},
			      {image: c, name: user-container-1}]}}}`},
		{"a Route", "routes", route, `{traffic: [{configurationName: hello, latestRevision: true, percent: 100}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := create(t, objects(t, shared, test.resource, "defaults"), test.manifest)
			var want map[string]any
			if err := yaml.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(floats(want), floats(got.Object["spec"])); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
		})
	}
}

// floats makes all numbers of one type, as YAML reads them.
func floats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []any:
		for i := range v {
			v[i] = floats(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = floats(v[k])
		}
	}
	return v
}

func TestCreatorAndLastModifier(t *testing.T) {
	c := objects(t, shared, "services", "creator")
	u := object(t, service)
	u.SetAnnotations(map[string]string{servingv1.CreatorAnnotation: "somebody", "mine": "kept"})
	got, err := c.Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{servingv1.CreatorAnnotation: "admin", servingv1.LastModifierAnnotation: "admin", "mine": "kept"}
	if diff := cmp.Diff(want, got.GetAnnotations()); diff != "" {
		t.Errorf("annotations after a create (-want +got):\n%s", diff)
	}
	got, err = c.Patch(t.Context(), "hello", types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+servingv1.CreatorAnnotation+
		`":"somebody","`+servingv1.LastModifierAnnotation+`":null}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.GetAnnotations()); diff != "" {
		t.Errorf("annotations after an update (-want +got):\n%s", diff)
	}

	owned := object(t, configuration)
	owned.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: "serving.knative.dev/v1", Kind: "Service", Name: "hello", UID: got.GetUID(),
	}})
	o, err := objects(t, shared, "configurations", "creator").Create(t.Context(), owned, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a := o.GetAnnotations(); len(a) > 0 {
		t.Errorf("an owned object has annotations %v, want none", a)
	}
}

func TestGenerationCountsChangesOfTheSpecAlone(t *testing.T) {
	c := objects(t, shared, "services", "generation")
	was := create(t, c, service)
	if was.GetGeneration() != 1 {
		t.Errorf("generation %d after a create, want 1", was.GetGeneration())
	}
	// A default is no change.
	same := object(t, service)
	same.SetResourceVersion(was.GetResourceVersion())
	if got, err := c.Update(t.Context(), same, metav1.UpdateOptions{}); err != nil || got.GetGeneration() != 1 {
		t.Errorf("the same again: generation %d and error %v, want 1", got.GetGeneration(), err)
	}
	// A status update changes neither the generation nor the spec.
	status := `{"spec":{"template":{"spec":{"timeoutSeconds":17}}},"status":{"observedGeneration":1,"url":"http://x","conditions":[{"type":"Ready","status":"True"}]}}`
	got, err := c.Patch(t.Context(), "hello", types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	url, _, _ := unstructured.NestedString(got.Object, "status", "url")
	timeout, _, _ := unstructured.NestedInt64(got.Object, "spec", "template", "spec", "timeoutSeconds")
	if got.GetGeneration() != 1 || url != "http://x" || timeout != 300 {
		t.Errorf("after a status update: generation %d, status.url %q, timeout %d; want 1, http://x, 300",
			got.GetGeneration(), url, timeout)
	}
	// A spec update changes the generation and not the status.
	got, err = c.Patch(t.Context(), "hello", types.MergePatchType,
		[]byte(`{"spec":{"template":{"spec":{"timeoutSeconds":17}}},"status":{"url":"http://y"}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if url, _, _ = unstructured.NestedString(got.Object, "status", "url"); got.GetGeneration() != 2 || url != "http://x" {
		t.Errorf("after a spec update: generation %d, status.url %q; want 2, http://x", got.GetGeneration(), url)
	}
}
