// Package up runs all of Sluice in this process, as `sluice up` does: a Kubernetes API server for Knative's kinds, the control plane,
// the gateway and the activator, and services as processes of this machine. It starts them in order, and must not know how any of them
// works.
//
// Run changes two things of the whole process. Whatever below the process loses its parent becomes a child of the process
// (PR_SET_CHILD_SUBREAPER); Run reaps those of its own services, and the program that embeds it those of other children. And the first Up
// sets the logger of controller-runtime. Signals, the environment and other loggers stay as they are.
package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/manifest"
	"sluice.dev/sluice/cmd/sluice/policy"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/tasks"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/apiserver"
	"sluice.dev/sluice/standalone/folder"
)

// Up is one run of everything. It is made by New, and Run may be called once.
type Up struct {
	// New sets these.
	options      Options
	log          hclog.Logger
	documents    []manifest.Document
	envoy        string // path; empty for the built-in gateway
	gateway      model.Gateway
	scaling      autoscaler.Config
	certificates *certificates
	registry     *prometheus.Registry
	pages        *http.ServeMux // of the admin address
	announce     announcer
	ready        chan struct{} // closed by serving
	serving      func()

	// Run sets these.
	parts  *stage.Group
	xds    *transport.Listeners
	token  string          // by which queue-proxies know activators
	tracer *tracing.Tracer // of the queue-proxies; nil without a collector
	tasks  *tasks.Tasks    // nil without an activator
	bin    string          // folder of the program for services; empty: none
}

// New reads and checks what the options name, and starts nothing. The context bounds the look at Envoy's version.
func New(ctx context.Context, o Options) (*Up, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	u := &Up{options: o, log: o.Logger, announce: announcer{out: o.Out}, registry: admin.NewRegistry(), ready: make(chan struct{})}
	u.serving = sync.OnceFunc(func() { close(u.ready) })
	u.pages = admin.NewMux(u.registry)
	u.pages.HandleFunc("/healthz", u.healthz)
	var err error
	if u.documents, err = manifest.Read(o.Manifests); err != nil {
		return nil, err
	}
	if u.envoy, err = o.envoyPath(ctx); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if u.certificates, err = openCertificates(o.Domain, o.TLSCerts, o.TLSKeys, o.Logger.Named("certificates")); err != nil {
		return nil, err
	}
	u.gateway = model.Gateway{HTTP: o.HTTP, Local: o.Local, Routes: o.Routes, Certificates: u.certificates.newest(), Tracing: o.Tracing}
	if o.Tracing.Secure() {
		if u.gateway.CollectorRoots, err = certificate.Roots(); err != nil {
			return nil, fmt.Errorf("a collector of traces over TLS: %w", err)
		}
	}
	if len(u.gateway.Certificates) > 0 {
		u.gateway.HTTPS, u.gateway.HTTPSPort = o.HTTPS, portOf(o.HTTPS)
	}
	var unknown []string
	if u.scaling, unknown, err = policy.ReadConfig(o.AutoscalerConfig); err != nil {
		return nil, err
	}
	for _, key := range unknown {
		u.log.Warn("--config has a key that config-autoscaler does not have; it is ignored", "key", key, "file", o.AutoscalerConfig)
	}
	return u, nil
}

// Ready is closed when the API and the gateway serve.
func (u *Up) Ready() <-chan struct{} { return u.ready }

// Kubeconfig is the path of the file for clients of the API. Run writes it.
func (u *Up) Kubeconfig() string { return filepath.Join(u.options.DataDir, "kubeconfig") }

// Run runs everything until ctx ends. Then requests in flight may finish, for at most stage.Drain, and everything is stopped: Run returns
// nil when that went well. It returns earlier, with an error, when a part fails.
func (u *Up) Run(ctx context.Context) error {
	u.parts = stage.NewGroup()
	err := u.start(ctx)
	if err == nil {
		err = u.parts.Wait(ctx, nil)
	}
	if ctx.Err() != nil {
		u.log.Info("stopping: requests in flight may finish", "at most", stage.Drain)
		err = nil
	}
	return u.parts.Stop(err)
}

// start starts the parts in the order in which they need each other.
func (u *Up) start(ctx context.Context) error {
	var err error
	if u.xds, err = u.options.XDS.Open(u.log.Named("xds")); err != nil {
		return err
	}
	u.parts.Start("xds listeners", untilTold(u.xds.Close))
	held, err := u.newActivator()
	if err != nil {
		return err
	}
	if held != nil {
		u.parts.Start("activator listener", untilTold(held.Close))
	}
	if err := u.options.Admin.Serve(u.parts, u.pages); err != nil {
		return err
	}
	api, err := u.startAPI(ctx)
	if err != nil {
		return err
	}
	if u.bin, err = u.options.linkProgram(); err != nil {
		return err
	}
	if u.token, err = folder.Token(filepath.Join(u.options.DataDir, "activator-token")); err != nil {
		return fmt.Errorf("the token of the activators: %w", err)
	}
	l, processes, err := u.newLoops(api, held)
	if err != nil {
		return err
	}
	if err := u.startLoops(l, processes); err != nil {
		return err
	}
	u.followCertificates(l)
	if err := u.startActivator(held); err != nil {
		return err
	}
	if err := u.startGateway(); err != nil {
		return err
	}
	return u.finishStart(ctx, api)
}

// untilTold is a part that does something when it ends.
func untilTold(do func()) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		do()
		return nil
	}
}

// finishStart announces that everything serves, and then applies the manifests.
func (u *Up) finishStart(ctx context.Context, api *apiserver.Server) error {
	if err := u.parts.Wait(ctx, u.ready); err != nil || ctx.Err() != nil {
		return err
	}
	u.announce.begin(fmt.Sprintf("sluice is ready\n  gateway     http://%s\n  kubernetes  kubectl --kubeconfig %s get ksvc\n",
		u.options.HTTP, api.Kubeconfig()))
	return manifest.Apply(ctx, api.Config(), u.documents, u.log)
}

func (u *Up) startAPI(ctx context.Context) (*apiserver.Server, error) {
	type result struct {
		api *apiserver.Server
		err error
	}
	started := make(chan result, 1)
	u.parts.Start("API server", func(run context.Context) error {
		api, err := apiserver.Start(run, apiserver.Options{
			Dir: u.options.DataDir, Listen: u.options.API, Logger: u.log.Named("api"), CheckScaling: u.checkFits,
			Store: u.options.storeCommand(),
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

// checkFits returns what is wrong with the annotations that a user writes, and which of them this machine cannot follow. Objects that are
// stored already run as far as there is room.
func (u *Up) checkFits(annotations map[string]string) error {
	return errors.Join(autoscaler.Validate(&u.scaling, annotations), autoscaler.Fits(u.options.MaxReplicas, annotations),
		autoscaler.Measured(&u.scaling, annotations), loops.CheckSchedule(annotations))
}

// healthz answers 200 when everything serves and 503 before.
func (u *Up) healthz(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-u.ready:
		_, _ = w.Write([]byte("ok\n"))
	default:
		http.Error(w, "the gateway does not serve yet", http.StatusServiceUnavailable)
	}
}
