package config

import (
	"fmt"

	"sluice.dev/sluice/autoscaler"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// Settings is the configuration of an installation, from all of its ConfigMaps. It is a value: what it holds is never changed in place.
type Settings struct {
	// Autoscaler is config-autoscaler, with the progress deadline of config-deployment.
	Autoscaler autoscaler.Config
	// Defaults is config-defaults, with the features that concern templates.
	Defaults servingv1.Defaults
	// Deployment is config-deployment.
	Deployment Deployment
	// Domain is config-domain, Network config-network.
	Domain  Domain
	Network Network
	// Tracing is what config-observability says of traces.
	Tracing model.Tracing
	// Features is config-features.
	Features Features
	// Retention is config-gc.
	Retention rollout.Retention
}

// Default returns the Settings of an installation whose ConfigMaps are all missing: Knative's defaults.
func Default() Settings {
	return Settings{
		Autoscaler: autoscaler.DefaultConfig(),
		Defaults:   servingv1.KnativeDefaults(),
		Deployment: defaultDeployment(),
		Features:   defaultFeatures(),
		Network:    defaultNetwork(),
		Retention:  rollout.DefaultRetention(),
	}
}

// configMap is a ConfigMap that Sluice reads. read sets the part of the Settings that belongs to it, beginning with Knative's defaults, and
// reports what is wrong to keys.
type configMap struct {
	name string
	read func(*Settings, *keys)
}

// configMaps are all of them, sorted by name. A further one is a row here, a file of its own and a field of Settings.
var configMaps = []configMap{
	{AutoscalerName, readAutoscaler},
	{DefaultsName, readDefaults},
	{DeploymentName, readDeployment},
	{DomainName, readDomain},
	{FeaturesName, readFeatures},
	{RetentionName, readRetention},
	{NetworkName, readNetwork},
	{ObservabilityName, readObservability},
}

// Names returns the names of all ConfigMaps that Sluice reads, sorted.
func Names() []string {
	names := make([]string, len(configMaps))
	for i, m := range configMaps {
		names[i] = m.name
	}
	return names
}

// Notes are what a valid ConfigMap has that has no effect.
type Notes struct {
	// Unknown are keys that nothing reads, sorted. Most are typing errors. Knative's _example is not among them.
	Unknown []string
	// Ignored are sentences on known keys whose value has no effect in Sluice, sorted by key.
	Ignored []string
}

// With returns the Settings with the data of the named ConfigMap in place of what that ConfigMap said before. Data of nil, as of a
// ConfigMap that is missing, mean Knative's defaults. The error joins one error for each mistake; each names the key, its value and what
// would be right. The Settings are then the old ones.
func (s Settings) With(name string, data map[string]string) (Settings, Notes, error) {
	for _, m := range configMaps {
		if m.name != name {
			continue
		}
		next, k := s, newKeys(data)
		m.read(&next, k)
		if err := k.err(); err != nil {
			return s, Notes{}, err
		}
		next.join()
		return next, k.notes(), nil
	}
	return s, Notes{}, fmt.Errorf("there is no ConfigMap %q in the configuration", name)
}

// join copies what one ConfigMap says into the part of another that needs it.
func (s *Settings) join() {
	s.Autoscaler.ProgressDeadline = s.Deployment.ProgressDeadline
	s.Defaults.Secure = s.Features.SecurePodDefaults
	s.Defaults.Bounds.OneContainer, s.Defaults.Bounds.NoEmptyDir = !s.Features.MultiContainer, !s.Features.EmptyDir
}
