package deployment

import (
	"testing"

	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
)

// The sidecar reads from its environment what the configuration says, and a change replaces the pods.
func TestSidecarGetsTracing(t *testing.T) {
	r := newRevision("hello-00001")
	hashes := map[string]bool{}
	for _, want := range []model.Tracing{
		{},
		{Protocol: model.TracingGRPC, Endpoint: "http://collector.observability:4317", SamplingRate: 1},
		{Protocol: model.TracingHTTP, Endpoint: "https://c.example:4318/v1/traces", SamplingRate: 0.000001},
	} {
		c := testConfig()
		c.Tracing = want
		d, err := Deployment(workloadOf(r), r, c)
		if err != nil {
			t.Fatal(err)
		}
		hashes[d.Annotations[HashAnnotation]] = true
		environment := map[string]string{}
		for _, container := range d.Spec.Template.Spec.Containers {
			for _, v := range container.Env {
				if container.Name == queueProxyName {
					environment[v.Name] = v.Value
				}
			}
		}
		if got, err := tracing.FromEnvironment(func(name string) string { return environment[name] }); err != nil || got != want {
			t.Errorf("the sidecar reads %+v, %v; want %+v", got, err, want)
		}
	}
	if len(hashes) != 3 {
		t.Errorf("%d different templates, want three", len(hashes))
	}
}
