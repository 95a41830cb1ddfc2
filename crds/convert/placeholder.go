package convert

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// placeholderPort is the port of a placeholder, as Knative names it.
const (
	placeholderPort     = 80
	placeholderPortName = "http2"
)

// PlaceholderOf makes the Service that leads from a name in the cluster to a gateway: Knative's, with its labels and annotations.
func PlaceholderOf(r *servingv1.Route, name, gateway string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: r.Namespace,
			// A user may set the visibility of one placeholder, so the Route's own is not copied.
			Labels:          without(with(r.Labels, map[string]string{servingv1.RouteLabel: r.Name}), servingv1.VisibilityLabel),
			Annotations:     without(with(r.Annotations, nil), servingv1.LastAppliedAnnotation),
			OwnerReferences: ownedBy(r, servingv1.KindRoute),
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: gateway, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{
				Name: placeholderPortName, Port: placeholderPort, TargetPort: intstr.FromInt32(placeholderPort),
				Protocol: corev1.ProtocolTCP, AppProtocol: new("kubernetes.io/h2c"),
			}},
		},
	}
}

// LeadsTo says whether a placeholder leads where another does. What users and the API server have added to it does not count.
func LeadsTo(have, want *corev1.Service) bool {
	if have.Spec.Type != want.Spec.Type || have.Spec.ExternalName != want.Spec.ExternalName || len(have.Spec.Ports) != len(want.Spec.Ports) {
		return false
	}
	for i, p := range want.Spec.Ports {
		if h := have.Spec.Ports[i]; h.Name != p.Name || h.Port != p.Port || h.TargetPort != p.TargetPort {
			return false
		}
	}
	for name, value := range want.Labels {
		if have.Labels[name] != value {
			return false
		}
	}
	return true
}

// WithLabels returns the labels of a placeholder with those that it must have.
func WithLabels(have, want map[string]string) map[string]string { return with(have, want) }
