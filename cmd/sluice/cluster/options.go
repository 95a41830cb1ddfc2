package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/model"
)

// Options say where a replica of the control plane runs and what it serves.
type Options struct {
	// Namespace is that of the installation. Pod is the name of this replica, which no other has, and IP its address for the others.
	Namespace, Pod, IP string
	// Dir is a folder for this replica alone: its certificate, and the socket of the xDS server.
	Dir string

	XDS   string // where xDS clients connect, host:port
	Admin admin.Options

	HTTP, HTTPS, Local string // where gateways listen, host:port; an empty host is every address
	Routes             model.RouteForm
	// Domain of the services' URLs, NAME.NAMESPACE.DOMAIN, where config-domain names none. Empty: such services are cluster-local.
	Domain string
	// LocalGateway is the DNS name of the gateways' Service for hosts within the cluster: each Route gets Services that lead there. Empty
	// means the one of the installation, and "none" that Routes get none.
	LocalGateway string
	// TLSSecret is the name of a Secret in Namespace with the certificate of the gateways for all hosts that have no other; empty for none.
	TLSSecret string

	QueueProxy string // image of the queue-proxy
	PullPolicy string // how kubelets get that image

	// Config reaches the API server.
	Config *rest.Config
	// Logger may be nil.
	Logger hclog.Logger
}

// Defaults returns the options of a `sluice controller` without flags.
func Defaults() Options {
	host, _ := os.Hostname() // an empty name is refused below
	return Options{
		Namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), "sluice-system"), Pod: cmp.Or(os.Getenv("POD_NAME"), host), IP: os.Getenv("POD_IP"),
		Dir: "/run/sluice", XDS: ":18000", Admin: admin.Options{Address: ":9090"},
		HTTP: ":8080", HTTPS: ":8443", Local: ":8081", Routes: model.Scoped, Domain: "example.com",
	}
}

// AddFlags adds the flags of `sluice controller`; the values are the defaults.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of the installation; by default POD_NAMESPACE")
	flags.StringVar(&o.Pod, "pod", o.Pod, "name of this replica, which no other may have; by default POD_NAME")
	flags.StringVar(&o.IP, "ip", o.IP, "IP address at which other replicas reach this one; by default POD_IP")
	flags.StringVar(&o.Dir, "dir", o.Dir, "folder for this replica alone: its certificate, and the socket of the xDS server")
	flags.StringVar(&o.XDS, "xds", o.XDS, "address of the xDS server; clients need a certificate of the installation's authority")
	o.Admin.AddFlags(flags, "address of /metrics, /healthz, /readyz and /debug/pprof")
	flags.StringVar(&o.HTTP, "http", o.HTTP, "where gateways listen")
	flags.StringVar(&o.HTTPS, "https", o.HTTPS, "where gateways listen for TLS, when there is a certificate")
	flags.StringVar(&o.Local, "local", o.Local, "where gateways listen for cluster-local hosts; empty for nowhere")
	flags.StringVar((*string)(&o.Routes), "routes", string(o.Routes), loops.RoutesUsage)
	flags.StringVar(&o.Domain, "domain", o.Domain, "domain of the services' URLs, NAME.NAMESPACE.DOMAIN, where config-domain names none; "+
		"empty: such services are cluster-local")
	flags.StringVar(&o.LocalGateway, "local-gateway", o.LocalGateway,
		"DNS name of the gateways' Service for hosts within the cluster, to which the Services of routes lead; by default "+
			"gateway-local in --namespace; none: routes get no Services")
	flags.StringVar(&o.TLSSecret, "tls-secret", o.TLSSecret,
		"name of a Secret in --namespace, of type kubernetes.io/tls, with the certificate of the gateways for all hosts that have no other")
	flags.StringVar(&o.QueueProxy, "queue-proxy-image", o.QueueProxy,
		"image of the queue-proxy, which runs beside each replica of a service")
	flags.StringVar(&o.PullPolicy, "queue-proxy-pull-policy", o.PullPolicy,
		"how kubelets get that image: Always, IfNotPresent or Never; by default as Kubernetes does for its tag")
}

// check finds options that are missing or wrong.
func (o *Options) check() error {
	err := loops.CheckRoutes(o.Routes)
	if net.ParseIP(o.IP) == nil {
		err = errors.Join(err, fmt.Errorf("--ip %q is no IP address: give the pod's, or set POD_IP from status.podIP", o.IP))
	}
	if o.Pod == "" {
		err = errors.Join(err, errors.New("--pod is missing: give the pod's name, or set POD_NAME from metadata.name"))
	}
	if o.QueueProxy == "" {
		err = errors.Join(err, errors.New("--queue-proxy-image is missing: name the image of the queue-proxy"))
	}
	switch corev1.PullPolicy(o.PullPolicy) {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		err = errors.Join(err, fmt.Errorf("--queue-proxy-pull-policy %q is none of Always, IfNotPresent and Never", o.PullPolicy))
	}
	return err
}

// gateway returns where gateways listen.
func (o *Options) gateway() model.Gateway {
	return model.Gateway{HTTP: everywhere(o.HTTP), HTTPS: everywhere(o.HTTPS), Local: everywhere(o.Local), Routes: o.Routes}
}

// everywhere completes an address without a host, because Envoy listens on addresses alone.
func everywhere(address string) string {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "" {
		return net.JoinHostPort("0.0.0.0", port)
	}
	return address
}

// noLocalGateway is the value of --local-gateway for none.
const noLocalGateway = "none"

// localGateway is the DNS name to which the Services of Routes lead; empty for none.
func (o *Options) localGateway() string {
	switch o.LocalGateway {
	case "":
		return "gateway-local." + o.Namespace + ".svc.cluster.local"
	case noLocalGateway:
		return ""
	}
	return o.LocalGateway
}

// certificate is the Secret of the gateways' certificate; the zero Key is none.
func (o *Options) certificate() model.Key {
	if o.TLSSecret == "" {
		return model.Key{}
	}
	return model.Key{Namespace: o.Namespace, Name: o.TLSSecret}
}
