package deployment

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// newRevision returns a Revision of a Service, with one container.
func newRevision(name string) *servingv1.Revision {
	return &servingv1.Revision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-of-" + name),
			Labels: map[string]string{servingv1.ServiceLabel: "hello", servingv1.ConfigurationLabel: "hello"},
		},
		Spec: servingv1.RevisionSpec{PodSpec: servingv1.PodSpec{Containers: []servingv1.Container{{Image: "example.org/hello"}}}},
	}
}
