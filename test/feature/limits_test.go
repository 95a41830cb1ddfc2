package feature

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestStatusSaysThatLimitsAreNotEnforced(t *testing.T) {
	t.Parallel()
	s := embed(t)
	o := newService("limited", "sluice", "sample")
	o.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("500m")}
	if err := s.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.ready("limited")
	eventually(t, "the revision says so", func() error {
		r := &servingv1.Revision{}
		if err := s.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: "limited-00001"}, r); err != nil {
			return err
		}
		if c := r.Status.Condition("ResourcesAvailable"); c == nil || c.Status != "True" || !strings.Contains(c.Message, "cpu=500m") {
			return fmt.Errorf("condition %+v", c)
		}
		return nil
	})
}
