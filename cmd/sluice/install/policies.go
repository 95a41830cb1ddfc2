package install

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Labels of namespaces that open ports of Sluice's pods to the pods in them; the value is "true".
const (
	// ClientsLabel is for Envoys and gRPC clients of others: they need the xDS server and the activators.
	ClientsLabel = "sluice.dev/xds-clients"
	// GatewaysLabel opens no port. With ClientsLabel it lets a namespace have a certificate of a gateway, and by that the keys of TLS.
	GatewaysLabel = "sluice.dev/xds-gateways"
	// MetricsLabel is for Prometheus.
	MetricsLabel = "sluice.dev/metrics"
)

// policy lets only the traffic of these rules into the pods of a role, and that of the metrics. What pods may reach is not restricted: a
// gateway must reach the pods of all services, and a controller the API server, whose address is not known here.
func (o Options) policy(role string, rules ...networkingv1.NetworkPolicyIngressRule) Object {
	rules = append(rules, allow([]int32{adminPort}, namespacesWith(MetricsLabel)))
	return &networkingv1.NetworkPolicy{
		TypeMeta: typeMeta("networking.k8s.io/v1", "NetworkPolicy"), ObjectMeta: o.meta(role, role),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: labels(role)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules,
		},
	}
}

// controllerPolicy lets clients of the xDS server in. Controllers pass clients on to the one that leads.
func (o Options) controllerPolicy() Object {
	return o.policy(controller, allow([]int32{xdsPort}, pods(controller), pods(activator), pods(gateway), namespacesWith(ClientsLabel)))
}

func (o Options) activatorPolicy() Object {
	return o.policy(activator, allow([]int32{activatorPort}, pods(gateway), namespacesWith(ClientsLabel)))
}

// gatewayPolicy lets everybody in, and to the port for cluster-local hosts only pods of the cluster.
func (o Options) gatewayPolicy() Object {
	everywhere := networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}
	return o.policy(gateway, allow([]int32{httpPort, httpsPort}), allow([]int32{localPort}, everywhere))
}

// allow lets peers reach ports; without peers it lets everybody.
func allow(ports []int32, from ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicyIngressRule {
	r := networkingv1.NetworkPolicyIngressRule{From: from}
	for _, p := range ports {
		r.Ports = append(r.Ports, networkingv1.NetworkPolicyPort{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(p))})
	}
	return r
}

// pods are those of a role, in the namespace of the policy.
func pods(role string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: labels(role)}}
}

func namespacesWith(label string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{label: "true"}}}
}
