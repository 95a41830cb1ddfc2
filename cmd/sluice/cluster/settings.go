package cluster

import (
	"cmp"
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/cmd/sluice/loops"
	"sluice.dev/sluice/cmd/sluice/stage"
	"sluice.dev/sluice/config"
	"sluice.dev/sluice/kube"
	"sluice.dev/sluice/kube/configmap"
	"sluice.dev/sluice/kube/deployment"
	"sluice.dev/sluice/rollout"
)

// watchSettings reads the ConfigMaps of the installation, and watches them.
func (c *Controller) watchSettings(ctx context.Context, parts *stage.Group, to *rest.Config) (*configmap.Watcher, config.Settings, error) {
	w, err := configmap.New(configmap.Options{Config: to, Namespace: c.options.Namespace, Logger: c.log.Named("configuration")})
	if err != nil {
		return nil, config.Settings{}, err
	}
	parts.Start("configuration", w.Run)
	settings, err := w.Settings(ctx)
	return w, settings, err
}

// followSettings has the loops and the runtime take new settings while they run.
func (c *Controller) followSettings(parts *stage.Group, w *configmap.Watcher, l *loops.Loops, runtime *deployment.Runtime) {
	parts.Start("settings", func(ctx context.Context) error {
		w.Follow(ctx, func(s config.Settings) {
			l.Configure(s.Autoscaler, c.adapterSettings(s))
			runtime.Configure(c.pods(s))
		})
		return ctx.Err()
	})
}

// adapterSettings are the parts of the settings that the adapter uses.
func (c *Controller) adapterSettings(s config.Settings) kube.Settings {
	return kube.Settings{
		Rollout: s.Hosts(rollout.Options{
			Domain: c.options.Domain, Retention: &s.Retention, ProgressDeadline: s.Deployment.ProgressDeadline,
		}),
		Defaults: &s.Defaults,
	}
}

// pods is what all pods of revisions have in common.
func (c *Controller) pods(s config.Settings) deployment.Config {
	return deployment.Config{
		QueueProxy: cmp.Or(s.Deployment.QueueProxyImage, c.options.QueueProxy), PullPolicy: corev1.PullPolicy(c.options.PullPolicy),
		Resources: s.QueueProxyResources(), ProgressDeadline: s.Deployment.ProgressDeadline,
		NoSpread: !s.Deployment.Spread, RuntimeClasses: runtimeClasses(s.Deployment.RuntimeClasses),
		AlwaysSchedulable: s.Deployment.AlwaysSchedulable,
	}
}

func runtimeClasses(classes []config.RuntimeClass) []deployment.RuntimeClass {
	all := make([]deployment.RuntimeClass, len(classes))
	for i, c := range classes {
		all[i] = deployment.RuntimeClass(c)
	}
	return all
}
