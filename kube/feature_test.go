package kube_test

import (
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

func TestAFieldWithoutItsFeatureIsRefused(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	b.feature = func(key string) bool { return key == "kubernetes.podspec-affinity" }
	defer b.startAdapter()()
	picky := newService("picky", "one")
	picky.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	if err := b.Create(t.Context(), picky); err != nil {
		t.Fatal(err)
	}
	near := newService("near", "one")
	near.Spec.Template.Spec.Affinity = &apiextensionsv1.JSON{Raw: []byte(`{"nodeAffinity":{}}`)}
	if err := b.Create(t.Context(), near); err != nil {
		t.Fatal(err)
	}
	b.eventually("it is said which feature is missing", func() (bool, string) {
		status := b.statusOf("picky-00001")
		c := status.Condition(model.Ready)
		return c != nil && c.Status == "False" && c.Reason == "FeatureDisabled" &&
				strings.Contains(c.Message, "spec.nodeSelector") && strings.Contains(c.Message, "kubernetes.podspec-nodeselector"),
			fmt.Sprintf("%+v", c)
	})
	b.eventuallyReady("near")
	if image := b.image("picky-00001"); image != "" {
		t.Errorf("it runs %q", image)
	}
}

func TestWrongInitContainersAreRefusedByTheAPIServer(t *testing.T) {
	b := newBenchWithoutAdapter(t)
	mount := []servingv1.VolumeMount{{Name: "none", MountPath: "/none"}}
	for want, c := range map[string]servingv1.InitContainer{
		"volumeMounts of initContainers must name one of the volumes": {Name: "first", Image: "init", VolumeMounts: mount},
		"reserved container name":                                     {Name: "queue-proxy", Image: "init"},
		"must not have the name of a container":                       {Name: "app", Image: "init"},
		"image":                                                       {Name: "first"},
	} {
		s := newService("hello", "one")
		s.Spec.Template.Spec.Containers[0].Name = "app"
		s.Spec.Template.Spec.InitContainers = []servingv1.InitContainer{c}
		if err := b.Create(t.Context(), s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
	}
	s := newService("hello", "one")
	s.Spec.Template.Spec.InitContainers = []servingv1.InitContainer{{Name: "first", Image: "init"}}
	if err := b.Create(t.Context(), s); err != nil {
		t.Errorf("a right one is refused: %v", err)
	}
}
