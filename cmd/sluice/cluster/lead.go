package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/cmd/sluice/transport"
	"sluice.dev/sluice/config"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/kube/configmap"
	"sluice.dev/sluice/kube/deployment"
	"sluice.dev/sluice/model"
)

// term is what runs while this replica leads.
type term struct{ parts *stage.Group }

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
	t := &term{parts: stage.NewGroup()}
	if err := c.startLeading(ctx, t.parts); err != nil {
		return nil, t.stop(fmt.Errorf("beginning to lead: %w", err))
	}
	return t, nil
}

func (c *Controller) startLeading(ctx context.Context, parts *stage.Group) error {
	c.state.Store(&state{why: "the objects of the API are not known yet"})
	if err := c.secrets.issueAll(ctx); err != nil {
		return err
	}
	token, err := c.secrets.token(ctx)
	if err != nil {
		return err
	}
	parts.Start("certificates", func(ctx context.Context) error { return c.secrets.renew(ctx, true) })
	xds, err := c.listenOptions().Open(c.log.Named("xds"))
	if err != nil {
		return err
	}
	parts.Start("xds listeners", func(ctx context.Context) error {
		<-ctx.Done()
		xds.Close()
		return nil
	})
	api := rest.CopyConfig(c.options.Config)
	api.QPS, api.Burst = 500, 1000 // the API server's own priority and fairness keeps the order among clients
	watcher, settings, err := c.watchSettings(ctx, parts, api)
	if err != nil {
		return err
	}
	l, runtime, err := c.newLoops(api, xds, token, watcher, settings)
	if err != nil {
		return err
	}
	parts.Start("deployments", runtime.Start)
	if err := l.Start(parts, c.options.Dir); err != nil {
		return err
	}
	c.followSettings(parts, watcher, l, runtime)
	c.state.Store(&state{ready: l.Ready(), why: "waiting for the first state of all objects"})
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
	return o
}

// newLoops wires the loops with the cluster's API server and with Deployments as replicas.
func (c *Controller) newLoops(api *rest.Config, xds *transport.Listeners, token string,
	watcher *configmap.Watcher, settings config.Settings) (l *loops.Loops, runtime *deployment.Runtime, err error) {
	runtime, err = deployment.New(deployment.Options{
		Config: api, Logger: c.log,
		Status:   func(s model.WorkloadStatus) { l.Adapter.Observe(s) },
		Revision: func(key model.Key) *servingv1.Revision { return l.Adapter.Revision(key) },
		Pods:     c.pods(settings),
	})
	if err != nil {
		return nil, nil, err
	}
	registry := admin.NewRegistry()
	registry.MustRegister(watcher)
	l, err = loops.New(loops.Options{
		Logger: c.log, Registry: registry, XDS: xds, Scaling: settings.Autoscaler,
		Adapter: kube.Options{
			Config: api, Gateway: c.options.gateway(), ActivatorToken: token, Run: runtime.Run,
			Settings: c.adapterSettings(settings), LocalGateway: c.options.localGateway(), Secrets: true,
			DefaultCertificate: c.options.certificate(), Events: true,
		},
	})
	if err != nil {
		return nil, nil, err
	}
	c.pages.Store(c.newPages(admin.NewMux(registry)))
	return l, runtime, nil
}
