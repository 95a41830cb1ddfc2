package convert

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// service is a Service with a value in every field that objects are made from.
func service() *servingv1.Service {
	return &servingv1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "hello", Namespace: "default", UID: "s",
			Labels: map[string]string{"team": "a", servingv1.VisibilityLabel: servingv1.VisibilityClusterLocal},
			Annotations: map[string]string{
				"note": "b", servingv1.LastAppliedAnnotation: "{}", servingv1.RolloutDurationAnnotation: "60s",
				servingv1.CreatorAnnotation: "ann", servingv1.LastModifierAnnotation: "bob",
			},
		},
		Spec: servingv1.ServiceSpec{
			ConfigurationSpec: servingv1.ConfigurationSpec{Template: servingv1.RevisionTemplate{
				Metadata: servingv1.TemplateMeta{Labels: map[string]string{"tier": "web"}, Annotations: map[string]string{"x": "y"}},
				Spec:     servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{Containers: []servingv1.Container{{Image: "img"}}}},
			}},
			Traffic: servingv1.Traffic{{Percent: new(int64(100))}, {RevisionName: "hello-00001", Tag: "old"}},
		},
	}
}

// knative are the defaults of most tests.
var knative = servingv1.KnativeDefaults()

// made is the Configuration of service, as an API server returns it at a generation.
func made(generation int64) *servingv1.Configuration {
	c := ConfigurationOf(service())
	c.UID, c.Generation = "c", generation
	return c
}

func TestConfigurationOfAService(t *testing.T) {
	c := ConfigurationOf(service())
	check(t, "labels", c.Labels, map[string]string{
		"team": "a", servingv1.VisibilityLabel: servingv1.VisibilityClusterLocal,
		servingv1.ServiceLabel: "hello", servingv1.ServiceUIDLabel: "s",
	})
	check(t, "annotations", c.Annotations, map[string]string{
		"note": "b", servingv1.RoutesAnnotation: "hello",
		servingv1.CreatorAnnotation: "ann", servingv1.LastModifierAnnotation: "bob",
	})
	check(t, "template", c.Spec, service().Spec.ConfigurationSpec)
	owner := metav1.GetControllerOf(c)
	if owner == nil || owner.UID != "s" || owner.Kind != "Service" || owner.APIVersion != "serving.knative.dev/v1" {
		t.Errorf("owner = %+v, want the Service", owner)
	}
}

func TestRouteOfAService(t *testing.T) {
	s := service()
	r := RouteOf(s)
	check(t, "labels", r.Labels, map[string]string{
		"team": "a", servingv1.VisibilityLabel: servingv1.VisibilityClusterLocal, servingv1.ServiceLabel: "hello",
	})
	check(t, "annotations", r.Annotations, map[string]string{
		"note": "b", servingv1.RolloutDurationAnnotation: "60s",
		servingv1.CreatorAnnotation: "ann", servingv1.LastModifierAnnotation: "bob",
	})
	check(t, "traffic", r.Spec.Traffic, servingv1.Traffic{
		{ConfigurationName: "hello", LatestRevision: new(true), Percent: new(int64(100))},
		{RevisionName: "hello-00001", Tag: "old", LatestRevision: new(false), Percent: new(int64(0))},
	})
	if s.Spec.Traffic[0].LatestRevision != nil || s.Annotations[servingv1.LastAppliedAnnotation] == "" {
		t.Error("the Service itself was changed")
	}
	s.Spec.Traffic = nil
	check(t, "no traffic", RouteOf(s).Spec.Traffic, servingv1.Traffic{
		{ConfigurationName: "hello", LatestRevision: new(true), Percent: new(int64(100))},
	})
}

func TestRevisionOfAConfiguration(t *testing.T) {
	r := RevisionOf(made(3), "hello-00003", &knative)
	check(t, "labels", r.Labels, map[string]string{
		"tier": "web", servingv1.ConfigurationLabel: "hello", servingv1.ConfigurationGenerationLabel: "3",
		servingv1.ConfigurationUIDLabel: "c", servingv1.ServiceLabel: "hello", servingv1.ServiceUIDLabel: "s",
		servingv1.RoutingStateLabel: "active",
	})
	check(t, "annotations", r.Annotations, map[string]string{
		"x": "y", servingv1.RoutesAnnotation: "hello", servingv1.CreatorAnnotation: "bob",
	})
	if owner := metav1.GetControllerOf(r); owner == nil || owner.UID != "c" || owner.Kind != "Configuration" {
		t.Errorf("owner = %+v, want the Configuration", owner)
	}
	check(t, "timeout", *r.Spec.TimeoutSeconds, int64(300))

	alone := made(1)
	alone.Labels, alone.Annotations = nil, nil
	r = RevisionOf(alone, "hello-00001", &knative)
	check(t, "routing state without a Service", r.Labels[servingv1.RoutingStateLabel], "pending")
	if _, ok := r.Labels[servingv1.ServiceLabel]; ok {
		t.Error("a Configuration of its own makes a revision with a Service")
	}
}

// A revision's spec is compared with the template that asks for its name after an API server has stored both.
func TestFingerprintSurvivesStorage(t *testing.T) {
	c := made(1)
	c.Spec.Template.Metadata.Name = "hello-blue"
	r := RevisionOf(c, "hello-blue", &knative)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var stored servingv1.Revision
	if err := json.Unmarshal(b, &stored); err != nil {
		t.Fatal(err)
	}
	if want := Configuration(c).Template; Revision(&stored).Template != want || want == "" {
		t.Errorf("fingerprint = %q, want %q", Revision(&stored).Template, want)
	}
	c.Spec.Template.Spec.Containers[0].Image = "other"
	if Revision(&stored).Template == Configuration(c).Template {
		t.Error("another image has the same fingerprint")
	}
}

func TestLabelsAreNotShared(t *testing.T) {
	s := service()
	ConfigurationOf(s).Labels["x"] = "y"
	RouteOf(s).Annotations["x"] = "y"
	for k := range s.Labels {
		if strings.HasPrefix(k, "x") {
			t.Error("a child's label appears on the Service")
		}
	}
}

func BenchmarkRevision(b *testing.B) {
	r := RevisionOf(made(1), "hello-00001", &knative)
	b.ReportAllocs()
	for b.Loop() {
		if Revision(r).Generation != 1 {
			b.Fatal("generation is not 1")
		}
	}
}

func TestRevisionHasTheDefaultsOfItsTime(t *testing.T) {
	d := servingv1.KnativeDefaults()
	d.TimeoutSeconds = 77
	c := made(3)
	r := RevisionOf(c, "hello-00003", &d)
	check(t, "timeout", *r.Spec.TimeoutSeconds, int64(77))
	plain := RevisionOf(c, "hello-00003", &knative)
	check(t, "the template is the same, whatever the defaults", Revision(r).Template, Revision(plain).Template)
	if r.Annotations[servingv1.TemplateAnnotation] == "" {
		t.Error("nothing says which template it is")
	}
	check(t, "with Knative's defaults nothing needs to", plain.Annotations[servingv1.TemplateAnnotation], "")

	c.Spec.Template.Metadata.Name = "hello-named"
	check(t, "the Configuration's", Configuration(c).Template, Revision(r).Template)
	c.Spec.Template.Spec.TimeoutSeconds = new(int64(servingv1.DefaultTimeoutSeconds))
	check(t, "Knative's default in words", Configuration(c).Template, Revision(r).Template)
	c.Spec.Template.Spec.TimeoutSeconds = new(int64(77))
	if Configuration(c).Template == Revision(r).Template {
		t.Error("a template that names the timeout is the one that does not")
	}
	c.Spec.Template.Metadata.Annotations = map[string]string{servingv1.TemplateAnnotation: "forged"}
	check(t, "an annotation of the user", RevisionOf(c, "hello-named", &knative).Annotations[servingv1.TemplateAnnotation], "")
}
