package install

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Kinds of gateways.
const (
	Envoy   = "envoy"   // an Envoy that sluice gateway supervises
	Builtin = "builtin" // the built-in data plane
	None    = "none"    // no gateway: gateways of others connect to the xDS server
)

// Options are the choices of an installation. The zero value is not one: begin with Defaults.
type Options struct {
	// Namespace of everything that has one.
	Namespace string
	// Gateway is Envoy, Builtin or None.
	Gateway string
	// Replicas of each role. They are at least 1.
	ControllerReplicas, ActivatorReplicas, GatewayReplicas int
	// Image has sluice, DataPlaneImage gateway and activator, QueueProxyImage the sidecar of replicas; EnvoyImage has envoy on its PATH.
	// PullPolicy is for all of them.
	Image, DataPlaneImage, QueueProxyImage, EnvoyImage string
	PullPolicy                                         string
	// Domain of the services' URLs: NAME.NAMESPACE.Domain.
	Domain string
	// ServiceType of the gateway's Service: LoadBalancer, NodePort or ClusterIP.
	ServiceType string
	// TLSSecret is the name of a Secret in Namespace with the certificate that gateways present; empty for none.
	TLSSecret string
	// UserSecrets lets controllers read Secrets of all namespaces: certificates of domain mappings, and image pull secrets.
	UserSecrets bool
	// RecordUsers has the API server write creators and last modifiers into annotations. It needs Kubernetes 1.36.
	RecordUsers bool
	// Routes is the form of routes to gateways: scoped or inline.
	Routes string
	// Monitoring adds objects of the Prometheus operator, which must be installed, and a dashboard of Grafana.
	Monitoring bool
}

// Defaults returns the options of `sluice install` without flags.
func Defaults() Options {
	return Options{
		Namespace: "sluice-system", Gateway: Envoy, ControllerReplicas: 2, ActivatorReplicas: 2, GatewayReplicas: 2,
		Image: "sluice.local/sluice:dev", DataPlaneImage: "sluice.local/data-plane:dev", QueueProxyImage: "sluice.local/queue-proxy:dev",
		EnvoyImage: "envoyproxy/envoy:distroless-v1.40.0", PullPolicy: string(corev1.PullIfNotPresent),
		Domain: "example.com", ServiceType: string(corev1.ServiceTypeLoadBalancer), Routes: "scoped",
	}
}

// AddFlags adds the flags of `sluice install`; the values are the defaults.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of Sluice; there is one installation in a cluster")
	flags.StringVar(&o.Gateway, "gateway", o.Gateway, "gateways to run: envoy, builtin, or none for Envoys of your own")
	flags.IntVar(&o.ControllerReplicas, "controller-replicas", o.ControllerReplicas, "replicas of the controller, of which one leads")
	flags.IntVar(&o.ActivatorReplicas, "activator-replicas", o.ActivatorReplicas, "replicas of the activator")
	flags.IntVar(&o.GatewayReplicas, "gateway-replicas", o.GatewayReplicas, "replicas of the gateway")
	flags.StringVar(&o.Image, "image", o.Image, "image of sluice, for controllers")
	flags.StringVar(&o.DataPlaneImage, "data-plane-image", o.DataPlaneImage, "image of data-plane, for activators and gateways")
	flags.StringVar(&o.QueueProxyImage, "queue-proxy-image", o.QueueProxyImage,
		"image of the queue-proxy, which runs beside each replica of a service")
	flags.StringVar(&o.EnvoyImage, "envoy-image", o.EnvoyImage, "image of Envoy; its PATH must have envoy")
	flags.StringVar(&o.PullPolicy, "image-pull-policy", o.PullPolicy, "how kubelets get these images: Always, IfNotPresent or Never")
	flags.StringVar(&o.Domain, "domain", o.Domain, "domain of the services' URLs, NAME.NAMESPACE.DOMAIN")
	flags.StringVar(&o.ServiceType, "service-type", o.ServiceType, "type of the gateway's Service: LoadBalancer, NodePort or ClusterIP")
	flags.StringVar(&o.TLSSecret, "tls-secret", o.TLSSecret,
		"name of a Secret in --namespace, of type kubernetes.io/tls, with the certificate that gateways present")
	flags.BoolVar(&o.UserSecrets, "user-secrets", o.UserSecrets,
		"let controllers read the Secrets of all namespaces: image pull secrets, and certificates of domain mappings")
	flags.BoolVar(&o.RecordUsers, "record-users", o.RecordUsers,
		"have the API server write who created an object and who last changed it into annotations, as Knative does; needs Kubernetes 1.36")
	flags.StringVar(&o.Routes, "routes", o.Routes, "form of the routes to gateways: scoped or inline")
	flags.BoolVar(&o.Monitoring, "monitoring", o.Monitoring,
		"add PodMonitors and alerts for the Prometheus operator, which must be installed, and a dashboard of Grafana")
}

// Check finds options that are missing or wrong. The error has a line for each.
func (o Options) Check() error {
	var all []error
	add := func(flag, value, want string) {
		all = append(all, fmt.Errorf("--%s is %q: want %s", flag, value, want))
	}
	if problems := validation.IsDNS1123Label(o.Namespace); problems != nil {
		add("namespace", o.Namespace, "the name of a namespace: "+strings.Join(problems, "; "))
	}
	if problems := validation.IsDNS1123Subdomain(o.Domain); problems != nil {
		add("domain", o.Domain, "a DNS name: "+strings.Join(problems, "; "))
	}
	if problems := validation.IsDNS1123Subdomain(o.TLSSecret); o.TLSSecret != "" && problems != nil {
		add("tls-secret", o.TLSSecret, "the name of a Secret: "+strings.Join(problems, "; "))
	}
	for _, c := range o.choices() {
		if !slices.Contains(c.of, c.value) {
			add(c.flag, c.value, "one of "+strings.Join(c.of, ", "))
		}
	}
	for flag, value := range map[string]int{
		"controller-replicas": o.ControllerReplicas, "activator-replicas": o.ActivatorReplicas, "gateway-replicas": o.GatewayReplicas,
	} {
		if value < 1 {
			add(flag, fmt.Sprint(value), "at least 1")
		}
	}
	for flag, value := range map[string]string{
		"image": o.Image, "data-plane-image": o.DataPlaneImage, "queue-proxy-image": o.QueueProxyImage, "envoy-image": o.EnvoyImage,
	} {
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' }) {
			add(flag, value, "the name of an image")
		}
	}
	slices.SortFunc(all, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(all...)
}

// choice is an option that has one of a few values.
type choice struct {
	flag, value string
	of          []string
}

func (o Options) choices() []choice {
	return []choice{
		{"gateway", o.Gateway, []string{Envoy, Builtin, None}},
		{"image-pull-policy", o.PullPolicy, []string{string(corev1.PullAlways), string(corev1.PullIfNotPresent), string(corev1.PullNever)}},
		{"service-type", o.ServiceType, []string{
			string(corev1.ServiceTypeLoadBalancer), string(corev1.ServiceTypeNodePort), string(corev1.ServiceTypeClusterIP),
		}},
		{"routes", o.Routes, []string{"scoped", "inline"}},
	}
}

// OldestKubernetes is the oldest version that has everything in an installation: a pod's end can sleep.
const OldestKubernetes = "1.30"
