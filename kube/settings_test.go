package kube_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// withDefaults are the settings with other defaults.
func (b *bench) withDefaults(change func(*servingv1.Defaults)) {
	d := servingv1.KnativeDefaults()
	change(&d)
	s := b.settings()
	s.Defaults = &d
	b.adapter.Configure(s)
}

func TestDefaultsAreThoseOfTheTimeOfARevision(t *testing.T) {
	b := newClusterBench(t, nil)
	b.withDefaults(func(d *servingv1.Defaults) {
		d.TimeoutSeconds, d.ResponseStartTimeoutSeconds, d.ContainerConcurrency = 500, 0, 5
		d.ContainerName = "{{.Name}}-app"
		d.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m")}
	})
	named := func(name string) func(s *servingv1.Service) {
		return func(s *servingv1.Service) { s.Spec.Template.Metadata.Name = name }
	}
	s := newService("hello", "1")
	named("hello-one")(s)
	if err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	first := b.revision("hello-one").Spec
	if *first.TimeoutSeconds != 500 || *first.ContainerConcurrency != 5 || first.Containers[0].Name != "hello-app" ||
		first.Containers[0].Resources.Requests.Cpu().String() != "100m" || first.ResponseStartTimeoutSeconds != nil {
		t.Errorf("the revision is %+v, want the configured defaults", first)
	}
	if w := b.workload("hello-one"); w.Timeout != 500*time.Second || w.ResponseStart != 0 || w.Concurrency != 5 {
		t.Errorf("workload %+v, want the revision's: Knative's own default of 300 s for the first byte must not come back", w)
	}
	if spec := b.service("hello").Spec.Template.Spec; spec.TimeoutSeconds != nil || spec.Containers[0].Name != "" {
		t.Errorf("the Service is %+v, want it as the user wrote it", spec)
	}

	// Other defaults make no new revision. That of a change gets them.
	b.withDefaults(func(d *servingv1.Defaults) { d.TimeoutSeconds = 88 })
	b.change("hello", func(s *servingv1.Service) {
		named("hello-two")(s)
		s.Spec.Template.Spec.Containers[0].Env[0].Value = "2"
	})
	b.eventuallySplit("hello", map[string]int{"hello-two": 100})
	b.eventuallyReady("hello")
	if got := b.revision("hello-two").Spec; *got.TimeoutSeconds != 88 || *got.ContainerConcurrency != 0 {
		t.Errorf("the new revision is %+v, want the new defaults", got)
	}
	if got := *b.revision("hello-one").Spec.TimeoutSeconds; got != 500 {
		t.Errorf("the timeout of the old revision is %d, want 500 as before", got)
	}
	var all servingv1.RevisionList
	if err := b.List(t.Context(), &all); err != nil || len(all.Items) != 2 {
		t.Errorf("%d revisions, %v; want 2", len(all.Items), err)
	}

	// The old template under its old name is the old revision, although defaults have changed meanwhile.
	b.change("hello", func(s *servingv1.Service) {
		named("hello-one")(s)
		s.Spec.Template.Spec.Containers[0].Env[0].Value = "1"
	})
	b.eventuallySplit("hello", map[string]int{"hello-one": 100})
	b.eventuallyReady("hello")
}

// workload returns what runs for a revision.
func (b *bench) workload(revision string) model.Workload {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running[model.Key{Namespace: "default", Name: revision}]
}

func TestTemplateOutsideOfTheBoundsIsAConditionUntilTheyAreWider(t *testing.T) {
	b := newClusterBench(t, nil)
	s := newService("hello", "1")
	s.Spec.Template.Spec.TimeoutSeconds = new(int64(700))
	if err := b.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	const want = "Revision creation failed with message: expected 0 <= 700 <= 600: spec.template.spec.timeoutSeconds."
	b.eventually("the Service says why", func() (bool, string) {
		c := b.service("hello").Status.Condition("ConfigurationsReady")
		return c != nil && c.Status == "False" && c.Reason == "RevisionFailed" && strings.Contains(c.Message, want), fmt.Sprintf("%+v", c)
	})
	b.withDefaults(func(d *servingv1.Defaults) { d.Bounds.TimeoutSeconds = 3600 })
	b.eventuallyReady("hello")
	// Narrower bounds concern new revisions alone.
	b.withDefaults(func(d *servingv1.Defaults) { d.Bounds.TimeoutSeconds = 300 })
	if err := b.Create(t.Context(), newService("another", "1")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("another")
	b.eventuallyReady("hello")
}

func TestRetentionChangesWhileItRuns(t *testing.T) {
	b := newBench(t)
	if err := b.Create(t.Context(), newService("hello", "1")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	for i := range 3 {
		b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = fmt.Sprint(i + 2) })
		b.eventuallySplit("hello", map[string]int{fmt.Sprintf("hello-%05d", i+2): 100})
	}
	b.retention = &rollout.Retention{} // nothing is kept
	b.adapter.Configure(b.settings())
	b.eventually("only the routed revision is left", func() (bool, string) {
		var revisions servingv1.RevisionList
		if err := b.List(t.Context(), &revisions); err != nil {
			t.Fatal(err)
		}
		return len(revisions.Items) == 1 && revisions.Items[0].Name == "hello-00004", fmt.Sprintf("%d revisions", len(revisions.Items))
	})
}

func TestRoutesThatSettingsDoNotChangeKeepTheirPointers(t *testing.T) {
	b := newBench(t)
	local := newService("local", "1")
	local.Labels = map[string]string{servingv1.VisibilityLabel: servingv1.VisibilityClusterLocal}
	for _, s := range []*servingv1.Service{newService("public", "1"), local} {
		if err := b.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		b.eventuallyReady(s.Name)
	}
	route := func(name string) *model.Route {
		for _, r := range b.newest().Routes {
			if r.Key.Name == name {
				return r
			}
		}
		return nil
	}
	before := route("local")
	settings := b.settings()
	settings.Rollout.Domain = "example.org"
	b.adapter.Configure(settings)
	b.eventually("the public Service has the new domain", func() (bool, string) {
		r, url := route("public"), b.service("public").Status.URL
		return slices.ContainsFunc(r.Rules, func(rule model.Rule) bool {
			return slices.ContainsFunc(rule.Hosts, func(host string) bool { return strings.Contains(host, "example.org") })
		}) && url == "http://public.default.example.org:8080", fmt.Sprintf("%+v, URL %s", r, url)
	})
	if route("local") != before {
		t.Error("the Route without external hosts has another pointer in the next World")
	}
	worlds := len(b.snapshot())
	settings.Defaults = new(servingv1.KnativeDefaults())
	settings.Defaults.TimeoutSeconds = 10
	b.adapter.Configure(settings) // concerns no Route
	b.change("public", func(s *servingv1.Service) { s.Annotations["note"] = "x" })
	b.eventuallyReady("public")
	for _, w := range b.snapshot()[worlds:] {
		if !slices.Contains(w.Routes, before) {
			t.Error("a later World has another pointer")
		}
	}
}

func (b *bench) snapshot() []*model.World {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.worlds)
}
