package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/config"
	"sluice.dev/sluice/contract"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/kube/configmap"
	"sluice.dev/sluice/kube/deployment"
	"sluice.dev/sluice/kube/digest"
	"sluice.dev/sluice/kube/images"
	"sluice.dev/sluice/model"
)

// term is what runs while this replica leads.
type term struct {
	// Set once, in this order.
	options Options
	parts   *stage.Group
	api     *rest.Config
	token   string // by which queue-proxies recognize activators and controllers
	xds     *transport.Listeners
	watcher *configmap.Watcher
	digests *digest.Resolver
	runtime *deployment.Runtime
	loops   *loops.Loops

	settings atomic.Pointer[config.Settings] // of now
}

// failure gets the error of a part that ends. A nil term has none.
func (t *term) failure() <-chan error {
	if t == nil {
		return nil
	}
	return t.parts.Failed()
}

// stop ends all parts and returns why, or what went wrong in ending them.
func (t *term) stop(why error) error {
	if t == nil {
		return why
	}
	return t.parts.Stop(why)
}

// lead starts all loops.
func (c *Controller) lead(ctx context.Context) (*term, error) {
	c.state.Store(&state{why: "the objects of the API are not known yet"})
	t := &term{options: c.options, parts: stage.NewGroup(), api: rest.CopyConfig(c.options.Config)}
	t.options.Logger = c.log
	t.api.QPS, t.api.Burst = 500, 1000 // the API server's own priority and fairness keeps the order among clients
	if err := c.startLeading(ctx, t); err != nil {
		return nil, t.stop(fmt.Errorf("beginning to lead: %w", err))
	}
	c.state.Store(&state{ready: t.loops.Ready(), why: "waiting for the first state of all objects"})
	return t, nil
}

func (c *Controller) startLeading(ctx context.Context, t *term) error {
	err := c.secrets.issueAll(ctx)
	if err != nil {
		return err
	}
	if t.token, err = c.secrets.token(ctx); err != nil {
		return err
	}
	t.parts.Start("certificates", func(ctx context.Context) error { return c.secrets.renew(ctx, true) })
	clients, err := newClients(t.api, c.options.Namespace, c.secrets.authority, c.log.Named("clients"))
	if err != nil {
		return err
	}
	t.parts.Start("certificates of others", clients.run)
	if t.xds, err = c.listenOptions().Open(c.log.Named("xds")); err != nil {
		return err
	}
	t.parts.Start("xds listeners", func(ctx context.Context) error {
		<-ctx.Done()
		t.xds.Close()
		return nil
	})
	if err := t.watchSettings(ctx); err != nil {
		return err
	}
	registry := admin.NewRegistry()
	registry.MustRegister(t.watcher)
	if err := t.newRuntime(); err != nil {
		return err
	}
	if err := t.newLoops(loops.Options{Logger: c.log, Registry: registry, XDS: t.xds}); err != nil {
		return err
	}
	c.pages.Store(c.newPages(admin.NewMux(registry)))
	t.parts.Start("deployments", t.runtime.Start)
	if err := t.loops.Start(t.parts, c.options.Dir); err != nil {
		return err
	}
	t.followSettings()
	return nil
}

// listenOptions has clients prove their role by a certificate of the installation's authority.
func (c *Controller) listenOptions() *transport.ListenOptions {
	o := &transport.ListenOptions{
		Listener: c.front.lead(), Cert: c.file(corev1.TLSCertKey), Key: c.file(corev1.TLSPrivateKeyKey), ClientCA: c.file(authorityKey),
	}
	for _, role := range roles {
		o.Allow = append(o.Allow, role+"=spiffe://sluice/"+role)
	}
	for _, role := range clientRoles {
		o.Allow = append(o.Allow, role.name+"=spiffe://sluice/"+role.name+"/*") // of a namespace
	}
	return o
}

// newRuntime makes what runs revisions as Deployments, and what resolves their images.
func (t *term) newRuntime() (err error) {
	// No cache: it would list and keep all Secrets of the cluster.
	reader, err := client.New(t.api, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	t.digests = digest.New(digest.Options{Credentials: reader, UserAgent: "sluice"})
	t.digests.Configure(digestSettings(t.settings.Load()))
	t.runtime, err = deployment.New(deployment.Options{
		Config: t.api, Logger: t.options.Logger,
		Status:   func(s model.WorkloadStatus) { t.loops.Adapter.Observe(s) },
		Revision: func(key model.Key) *servingv1.Revision { return t.loops.Adapter.Revision(key) },
		Signer:   contract.NewSigner(t.token),
		Pods:     t.options.pods(t.settings.Load()),
	})
	return err
}

// usagePeriod is how often CPU and memory are read: as often as metrics-server measures them by default.
const usagePeriod = 15 * time.Second

// newLoops wires the loops with the cluster's API server and with Deployments as replicas.
func (t *term) newLoops(o loops.Options) (err error) {
	settings := t.settings.Load()
	o.Scaling, o.PlatformHPA = settings.Autoscaler, true
	o.Usage, o.UsagePeriod = t.runtime.Usage, usagePeriod
	o.Adapter = kube.Options{
		Config: t.api, Gateway: t.gateway(settings), ActivatorToken: t.token, Run: t.runtime.Run,
		Feature:  func(key string) bool { return t.settings.Load().Features.Pods[key] },
		Digests:  images.Digests{Known: t.digests.Known, Resolve: t.digests.Resolve},
		Settings: t.options.adapterSettings(settings), LocalGateway: t.options.localGateway(), Secrets: true,
		DefaultCertificate: t.options.certificate(), Events: true,
	}
	t.loops, err = loops.New(o)
	return err
}
