package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
	"sluice.dev/sluice/standalone/apiserver"
	"sluice.dev/sluice/standalone/folder"
	"sluice.dev/sluice/standalone/socket"
)

// upFlags are the flags of `sluice up`.
type upFlags struct {
	log       logFlags
	dataDir   string
	manifests []string
	http      string
	https     string
	local     string
	api       string
	xds       xdsServerFlags
	admin     adminFlags
	domain    string
	gateway   string
	routes    string
	envoy     string
	tlsCert   []string
	tlsKey    []string
	activator string
	config    string
	requests  bool
	stats     []string
	replicas  int
}

func upCommand() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: API server, gateway, services as processes",
		Long: `Up runs all of Sluice in one process on this machine: a real Kubernetes API server for
Knative's kinds, the control plane, the gateway, and the services as processes. What you apply
is kept in the data directory and is there again at the next start. A service runs as many
replicas as its requests need, and none when there are none; the first request wakes it.

It prints "sluice is ready" when the API and the gateway serve, and the URL of each service
when that is ready. Ctrl-C or SIGTERM lets requests finish and stops everything.`,
		Example: `  sluice up -f examples/canary
  kubectl --kubeconfig .sluice/kubeconfig get ksvc
  curl http://hello.default.localhost:8080`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := f.log.logger(c.ErrOrStderr())
			if err != nil {
				return err
			}
			return (&up{flags: f, log: log, announce: announcer{out: c.OutOrStdout()}}).run(c.Context())
		},
	}
	f.log.add(c)
	flags := c.Flags()
	flags.StringVar(&f.dataDir, "data-dir", defaultDataDir, "where everything is kept: objects, kubeconfig, logs")
	flags.StringArrayVarP(&f.manifests, "filename", "f", nil, "manifest file or folder to apply at the start; may be repeated")
	flags.StringVar(&f.http, "http", "127.0.0.1:8080", "address of the gateway")
	flags.StringVar(&f.https, "https", "127.0.0.1:8444", "address of the gateway over TLS; needs --tls-cert and --tls-key")
	flags.StringVar(&f.local, "local", "127.0.0.1:8081", "address of the gateway for cluster-local hosts; empty for none")
	flags.StringArrayVar(&f.tlsCert, "tls-cert", nil, "PEM file with the certificate chain to serve on --https, read again when it changes; may be repeated, each for the names in it and the first for all others")
	flags.StringArrayVar(&f.tlsKey, "tls-key", nil, "PEM file with the key of the --tls-cert in the same place")
	flags.StringVar(&f.api, "api", "127.0.0.1:8443", "address of the Kubernetes API")
	f.xds.add(c)
	f.admin.add(c, "127.0.0.1:9090", "address of /metrics, /healthz, /debug/pprof and the gateway's admin paths")
	flags.StringVar(&f.activator, "activator", "127.0.0.1:8012", "address of the activator, which holds requests for revisions without replicas; none for none of its own")
	flags.StringVar(&f.config, "config", "", "YAML file with the keys of Knative's config-autoscaler")
	flags.StringArrayVar(&f.stats, "envoy-stats", nil, "admin address of an Envoy that does not report its load over LRS, host:port or unix:PATH: it is read from /stats/prometheus; may be repeated")
	flags.IntVar(&f.replicas, "max-replicas", mostReplicas(), "how many replicas this machine runs at most, of all revisions together; by default from its memory and this process's descriptors")
	flags.BoolVar(&f.requests, "request-log", false, "have the queue-proxies log each request to standard output, as JSON")
	flags.StringVar(&f.domain, "domain", "localhost", "domain of the services' URLs: NAME.NAMESPACE.DOMAIN")
	flags.StringVar(&f.gateway, "gateway", "auto", "data plane: builtin, envoy, auto (Envoy where one is found), or none (you run your own)")
	flags.StringVar(&f.routes, "routes", string(model.Scoped), routesUsage)
	flags.StringVar(&f.envoy, "envoy", "", "the Envoy to run; by default the one on PATH or named by ENVOY_BIN")
	return c
}

// up is one run of `sluice up`.
type up struct {
	flags    upFlags
	log      hclog.Logger
	announce announcer
	stages   *stages
	doors    *xdsDoors
	served   *served
	ready    readiness
	token    string         // by what queue-proxies know activators
	mux      *http.ServeMux // of the admin address
	registry *prometheus.Registry
}

// drain bounds how long requests in flight may take when the process is told to stop.
const drain = 30 * time.Second

func (u *up) run(ctx context.Context) error {
	klog.SetLogger(kube.Bridge(u.log.Named("kubernetes")))
	documents, err := manifest.Read(u.flags.manifests)
	if err != nil {
		return err
	}
	envoyPath, err := u.flags.envoyPath(ctx)
	if err != nil {
		return err
	}
	world, err := u.gatewayModel()
	if err != nil {
		return err
	}
	config, unknown, err := readAutoscalerConfig(u.flags.config)
	if err != nil {
		return err
	}
	for _, key := range unknown {
		u.log.Warn("--config has a key that config-autoscaler does not have; it is ignored", "key", key, "file", u.flags.config)
	}
	if err := errors.Join(u.flags.xds.check(), u.checkReplicas(), u.checkPorts()); err != nil {
		return err
	}
	u.stages = newStages()
	err = u.start(ctx, parts{world, config, envoyPath, documents})
	if err == nil {
		err = u.stages.wait(ctx)
	}
	if ctx.Err() != nil {
		u.log.Info("stopping: requests in flight may finish", "at most", drain)
		err = nil
	}
	return u.stages.stop(err)
}

// parts are what the flags come to.
type parts struct {
	gateway   model.Gateway
	scaling   autoscaler.Config
	envoy     string // path; empty for the built-in gateway
	documents []manifest.Document
}

// start brings up the parts in the order in which they need each other.
func (u *up) start(ctx context.Context, p parts) error {
	var err error
	if u.doors, err = u.flags.xds.open(u.log.Named("xds")); err != nil {
		return err
	}
	held, err := u.newActivator()
	if err != nil {
		return err
	}
	if err := u.startAdmin(); err != nil {
		return err
	}
	api, err := u.startAPI(ctx, &p.scaling)
	if err != nil {
		return err
	}
	if err := u.linkSelf(); err != nil {
		return err
	}
	if u.token, err = folder.Token(filepath.Join(u.flags.dataDir, "activator-token")); err != nil {
		return fmt.Errorf("the token of the activators: %w", err)
	}
	l := u.newLoops(p.scaling, held)
	if l.adapter, err = kube.New(kube.Options{
		Config: api.Config(), Logger: u.log, Gateway: p.gateway, ActivatorToken: u.token, Rollout: u.rolloutOptions(),
		Worlds: l.control.Offer, Run: l.processes.Run, Scale: l.scaling(&p.scaling), Ready: u.announce.service, CollectGarbage: true,
		AwaitActivator: held == nil, Waiting: l.xds.Waiting,
		Put: func(ctx context.Context, o client.Object, whole bool) error { return api.Put(ctx, o, whole) },
	}); err != nil {
		return err
	}
	l.connected(contract.RoleActivator, nil)
	u.showScaling(l, held)
	u.showXDS(l)
	if err := u.startLoops(l); err != nil {
		return err
	}
	u.followCertificates(l, p.gateway)
	if held != nil {
		u.stages.start("activator", held.Run)
	}
	if err := u.startGateway(p.envoy); err != nil {
		return err
	}
	return u.finishStart(ctx, api, p.documents)
}

// finishStart says when all serves, and then applies the manifests.
func (u *up) finishStart(ctx context.Context, api *apiserver.Server, documents []manifest.Document) error {
	if err := u.ready.wait(ctx, u.stages); err != nil || ctx.Err() != nil {
		return err
	}
	u.announce.begin(fmt.Sprintf("sluice is ready\n  gateway     http://%s\n  kubernetes  kubectl --kubeconfig %s get ksvc\n", u.flags.http, api.Kubeconfig()))
	return applyAll(ctx, api.Config(), documents, u.log)
}

func (u *up) startAPI(ctx context.Context, scaling *autoscaler.Config) (*apiserver.Server, error) {
	type result struct {
		api *apiserver.Server
		err error
	}
	started := make(chan result, 1)
	u.stages.start("API server", func(run context.Context) error {
		api, err := apiserver.Start(run, apiserver.Options{
			Dir: u.flags.dataDir, Listen: u.flags.api, Logger: u.log.Named("api"), CheckScaling: u.fits(scaling), Store: storeProcess,
		})
		started <- result{api, err}
		if err != nil {
			return err
		}
		return api.Wait()
	})
	select {
	case r := <-started:
		return r.api, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fits says what is wrong with a revision's annotations, and which of them this machine cannot follow: that is for who writes them, since
// what is stored already runs as far as there is room.
func (u *up) fits(scaling *autoscaler.Config) func(map[string]string) error {
	return func(annotations map[string]string) error {
		return errors.Join(check(scaling)(annotations), autoscaler.Fits(u.flags.replicas, annotations))
	}
}

func (u *up) checkReplicas() error {
	if u.flags.replicas < 1 {
		return fmt.Errorf("--max-replicas %d is none: want 1 or more", u.flags.replicas)
	}
	return nil
}

func (u *up) rolloutOptions() rollout.Options {
	_, port, _ := net.SplitHostPort(u.flags.http)
	number, _ := strconv.Atoi(port)
	if number == 80 {
		number = 0 // the scheme's own port is not written
	}
	return rollout.Options{Domain: u.flags.domain, Port: number}
}

// gatewayModel says where the gateway listens, from the flags.
func (u *up) gatewayModel() (model.Gateway, error) {
	form, err := routeForm(u.flags.routes)
	g := model.Gateway{HTTP: u.flags.http, Local: u.flags.local, Routes: form}
	if err != nil {
		return g, err
	}
	if u.served, err = openServed(u.flags.domain, u.flags.tlsCert, u.flags.tlsKey, u.log.Named("certificates")); err != nil {
		return g, err
	}
	if g.Certificates = u.served.newest(); len(g.Certificates) > 0 {
		g.HTTPS = u.flags.https
	}
	return g, nil
}

// followCertificates has a World hold the gateway's certificates as they are in the files.
func (u *up) followCertificates(l *loops, gateway model.Gateway) {
	if len(gateway.Certificates) == 0 {
		return
	}
	u.stages.start("certificates", func(ctx context.Context) error {
		u.served.follow(ctx, func(newest []model.Certificate) {
			gateway.Certificates = newest
			l.adapter.Gateway(gateway)
		})
		return nil
	})
}

// checkPorts finds out early, and by the name of its flag, that an address cannot be had: the gateway would
// only learn it from its listener resource.
func (u *up) checkPorts() error {
	if u.flags.gateway == gatewayNone {
		return nil
	}
	for flag, address := range map[string]string{"--http": u.flags.http, "--local": u.flags.local, "--https": u.flags.https} {
		if address == "" || flag == "--https" && len(u.flags.tlsCert) == 0 {
			continue
		}
		// Envoy listens on addresses only, not on names.
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" && host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("%s %s is no address to listen on: want an IP address and a port, such as 127.0.0.1:8080", flag, address)
		}
		l, err := listen(flag, address)
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

func listen(flag, address string) (net.Listener, error) {
	l, err := socket.Listen(context.Background(), address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s is in use: stop what listens there, or choose another address with %s", flag, address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s %s: %w", flag, address, err)
	}
	return l, nil
}

// linkSelf puts this very binary on the PATH of the services, as `sluice`: the examples run `sluice sample`,
// also when Sluice itself was started by `go run`.
func (u *up) linkSelf() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	bin, err := filepath.Abs(filepath.Join(u.flags.dataDir, "bin"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	link := filepath.Join(bin, "sluice")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(self, link); err != nil {
		return err
	}
	return os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}
