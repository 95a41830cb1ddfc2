package cluster

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/certificate"
	"sluice.dev/sluice/config"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/kube/configmap"
	"sluice.dev/sluice/kube/deployment"
	"sluice.dev/sluice/kube/digest"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// watchSettings reads the ConfigMaps of the installation, and watches them.
func (t *term) watchSettings(ctx context.Context) (err error) {
	t.watcher, err = configmap.New(configmap.Options{Config: t.api, Namespace: t.options.Namespace, Logger: t.options.Logger})
	if err != nil {
		return err
	}
	t.parts.Start("configuration", t.watcher.Run)
	settings, err := t.watcher.Settings(ctx)
	t.settings.Store(&settings)
	return err
}

// followSettings has the loops and the runtime take new settings while they run.
func (t *term) followSettings() {
	t.parts.Start("settings", func(ctx context.Context) error {
		t.watcher.Follow(ctx, func(s config.Settings) {
			t.settings.Store(&s)
			t.loops.Adapter.Gateway(t.gateway(&s))
			t.loops.Configure(s.Autoscaler, t.options.adapterSettings(&s))
			t.runtime.Configure(t.options.pods(&s))
			t.digests.Configure(digestSettings(&s))
		})
		return ctx.Err()
	})
}

// gateway is what gateways are to do.
func (t *term) gateway(s *config.Settings) model.Gateway {
	g := t.options.gateway(s)
	if s.Tracing.Secure() {
		var err error
		if g.CollectorRoots, err = certificate.Roots(); err != nil {
			t.options.Logger.Error("spans are off at gateways and activators: they must know the collector's authorities", "error", err)
		}
	}
	return g
}

// adapterSettings are the parts of the settings that the adapter uses.
func (o *Options) adapterSettings(s *config.Settings) kube.Settings {
	return kube.Settings{
		Rollout: s.Hosts(rollout.Options{
			Domain: o.Domain, Retention: &s.Retention, ProgressDeadline: s.Deployment.ProgressDeadline,
		}),
		Defaults: &s.Defaults,
	}
}

// pods is what all pods of revisions have in common.
func (o *Options) pods(s *config.Settings) deployment.Config {
	return deployment.Config{
		QueueProxy: cmp.Or(s.Deployment.QueueProxyImage, o.QueueProxy), PullPolicy: corev1.PullPolicy(o.PullPolicy),
		Resources: s.QueueProxyResources(), ProgressDeadline: s.Deployment.ProgressDeadline,
		NoSpread: !s.Deployment.Spread, RuntimeClasses: runtimeClasses(s.Deployment.RuntimeClasses),
		AlwaysSchedulable: s.Deployment.AlwaysSchedulable, Tracing: s.Tracing,
	}
}

// digestSettings is how the tags of images are resolved.
func digestSettings(s *config.Settings) digest.Settings {
	return digest.Settings{Skip: s.Deployment.SkipTagResolving, Timeout: s.Deployment.DigestTimeout}
}

func runtimeClasses(classes []config.RuntimeClass) []deployment.RuntimeClass {
	all := make([]deployment.RuntimeClass, len(classes))
	for i, c := range classes {
		all[i] = deployment.RuntimeClass(c)
	}
	return all
}
