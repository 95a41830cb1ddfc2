package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const objects = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/target: "8", autoscaling.knative.dev/max-scale: "20"}}
    spec: {containerConcurrency: 10, timeoutSeconds: 7, containers: [{image: a/b}]}
---
apiVersion: serving.knative.dev/v1
kind: Revision
metadata: {name: other, namespace: apps}
spec: {containers: [{image: a/b}]}
---
apiVersion: serving.knative.dev/v1
kind: Route
metadata: {name: hello}
spec: {traffic: [{revisionName: other, percent: 100}]}
---
kind: Broken
`

func TestPolicyIsThatOfItsObjectUnderTheFlags(t *testing.T) {
	file := configFile(t, objects)
	for name, c := range map[string]struct {
		source      Source
		name        string
		target      float64
		concurrency int
		timeout     time.Duration
	}{
		"nothing": {Source{Concurrency: -1}, "", 100, 0, 5 * time.Minute},
		"an object": {Source{Files: []string{file}, Service: "hello", Concurrency: -1}, "Service default/hello", 8, 10,
			7 * time.Second},
		"flags over it": {Source{Files: []string{file}, Service: "default/hello", Concurrency: 0, Annotations: []string{"target=3"}},
			"Service default/hello", 3, 0, 7 * time.Second},
		"a revision": {Source{Files: []string{file}, Service: "apps/other", Concurrency: -1}, "Revision apps/other", 100, 0,
			5 * time.Minute},
		"a configuration": {Source{Concurrency: -1, Config: configFile(t, "container-concurrency-target-default: 50\nx: 1\n")}, "", 50, 0,
			5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.source.Read()
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Scaling(); p.Name != c.name || got.Total != c.target || p.Concurrency != c.concurrency || p.Timeout != c.timeout {
				t.Errorf("got %s with target %v, concurrency %d and timeout %v, want %+v", p.Name, got.Total, p.Concurrency, p.Timeout, c)
			}
			if want := c.source.Config != ""; slices.Equal(p.Unknown, []string{"x"}) != want {
				t.Errorf("unknown keys %q", p.Unknown)
			}
		})
	}
}

func TestSecondPolicyLeavesTheFirstAsItWas(t *testing.T) {
	source := Source{Concurrency: -1, Annotations: []string{"target=8"}}
	first, err := source.Read()
	if err != nil {
		t.Fatal(err)
	}
	second, err := first.With([]string{" target=5", "autoscaling.knative.dev/max-scale=3"})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := first.Scaling(), second.Scaling(); a.Total != 8 || a.MaxScale != 0 || b.Total != 5 || b.MaxScale != 3 {
		t.Errorf("the first has target %v and maximum %d, the second %v and %d", a.Total, a.MaxScale, b.Total, b.MaxScale)
	}
}

func TestWrongSourceOfAPolicyIsNamed(t *testing.T) {
	file := configFile(t, objects)
	for want, source := range map[string]Source{
		"choose one with --service: Revision apps/other, Service default/hello":               {Files: []string{file}},
		`none is named "x" (--service): there are Revision apps/other, Service default/hello`: {Files: []string{file}, Service: "x"},
		file + " (document 4): this is not an object of the API":                              {Files: []string{file}, Service: "x"},
		"no Service, Configuration or Revision to simulate is in ":                            {Files: []string{configFile(t, "{}")}},
		"--service x needs a manifest":                                                        {Service: "x"},
		`annotation "taget" is not known`:                                                     {Annotations: []string{"taget=1"}},
		`annotation "target" is not KEY=VALUE`:                                                {Annotations: []string{"target"}},
		"Service default/hello: ": {Files: []string{file}, Service: "hello",
			Annotations: []string{"target=0"}},
		"only kpa.autoscaling.knative.dev can be simulated":             {Annotations: []string{"class=hpa.autoscaling.knative.dev"}},
		"reading the autoscaler's configuration (--config) absent.yaml": {Config: "absent.yaml"},
	} {
		if _, err := source.Read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q in it", source, err, want)
		}
	}
}
