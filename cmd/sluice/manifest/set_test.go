package manifest

import (
	"strings"
	"testing"
)

func set(t *testing.T, text string) (*Set, []error) {
	t.Helper()
	s, errs := &Set{}, []error(nil)
	for _, d := range Decode("objects", strings.NewReader(text)) {
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		if err := s.Add(d.Object); err != nil {
			errs = append(errs, err)
		}
	}
	return s, errs
}

func TestLastDocumentOfAnObjectCounts(t *testing.T) {
	s, errs := set(t, `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec: {template: {metadata: {name: hello-blue}, spec: {containers: [{image: a/b}]}}}
---
apiVersion: serving.knative.dev/v1
kind: Configuration
metadata: {name: alone}
spec: {template: {spec: {containers: [{image: a/b}]}}}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello, namespace: default}
spec: {template: {metadata: {name: hello-green}, spec: {containers: [{image: a/b}]}}}
`)
	if len(errs) > 0 || len(s.Objects()) != 2 || s.Objects()[0].GetGeneration() != 2 || s.Objects()[1].GetName() != "alone" {
		t.Fatalf("got %v, %v", s.Objects(), errs)
	}
	world, problems := s.World("example.com")
	if len(problems) > 0 || len(world.Routes) != 1 {
		t.Fatalf("got the routes %v, %v", world.Routes, problems)
	}
	rule := world.Routes[0].Rules[0]
	if rule.Hosts[0] != "hello.default.example.com" || len(rule.Shares) != 1 || rule.Shares[0].Revision.Name != "hello-green" {
		t.Errorf("the route is %+v, want all of hello-green", rule)
	}
}

func TestObjectsThatTheAPIWouldRefuseAreRefused(t *testing.T) {
	for want, text := range map[string]string{
		"Pod of v1 is not translated":                    "{apiVersion: v1, kind: Pod, metadata: {name: x}}",
		"Service of serving.knative.dev/v1alpha1 is not": "{apiVersion: serving.knative.dev/v1alpha1, kind: Service, metadata: {name: x}}",
		"Service x: strict decoding error: unknown field": "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: x}, " +
			"spec: {templat: {}}}",
		"autoscaling annotations must be put under": "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: x, " +
			"annotations: {autoscaling.knative.dev/target: \"1\"}}}",
	} {
		s, errs := set(t, text)
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) || len(s.Objects()) > 0 {
			t.Errorf("%s: got %v, want %q in it", text, errs, want)
		}
	}
}

func TestDomainMappingsAreServedBesideTheirTarget(t *testing.T) {
	s, errs := set(t, `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec: {template: {spec: {containers: [{image: a/b}]}}}
---
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {name: www.example.com}
spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: nothing}}
---
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {name: www.example.com, namespace: default, annotations: {networking.knative.dev/http-protocol: maybe}}
spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}
`)
	world, problems := s.World("localhost")
	if len(errs) > 0 || len(world.Routes) != 2 || world.Routes[1].Rules[0].Hosts[0] != "www.example.com" {
		t.Errorf("got the routes %v, %v", world.Routes, errs)
	}
	if len(problems) != 1 || problems[0].Reason != "InvalidAnnotation" {
		t.Errorf("got the problems %v, want that of the annotation", problems)
	}
}
