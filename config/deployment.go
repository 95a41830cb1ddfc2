package config

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// DeploymentName is the ConfigMap of what the Deployments of all revisions have in common.
const DeploymentName = "config-deployment"

// Deployment is config-deployment.
type Deployment struct {
	// QueueProxyImage is the image of the sidecar; empty leaves it to the installation.
	QueueProxyImage string
	// QueueProxy are the resources of the sidecar; Settings.QueueProxyResources adds the defaults of a feature.
	QueueProxy corev1.ResourceRequirements
	// ProgressDeadline is how long a revision may take to become ready; whole seconds.
	ProgressDeadline time.Duration
	// DigestTimeout is how long resolving the tag of an image may take.
	DigestTimeout time.Duration
	// SkipTagResolving are the registries whose tags are not resolved to digests, sorted.
	SkipTagResolving []string
	// Spread prefers nodes for a pod that have no pod of its revision yet.
	Spread bool
	// RuntimeClasses are classes of pods, the most specific one first. The first that selects a revision is its class.
	RuntimeClasses []RuntimeClass
	// AlwaysSchedulable says that a pod that no node can take yet is no failure, such as where nodes are added on demand.
	AlwaysSchedulable bool
}

// RuntimeClass is a RuntimeClass of Kubernetes for the revisions that have all labels of Selector.
type RuntimeClass struct {
	Name     string
	Selector map[string]string
}

func defaultDeployment() Deployment {
	return Deployment{
		QueueProxy:       corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("25m")}},
		ProgressDeadline: 600 * time.Second, DigestTimeout: 10 * time.Second,
		SkipTagResolving: []string{"dev.local", "kind.local", "ko.local"}, Spread: true,
	}
}

// oldSpellings are keys that Knative accepts too, by the one that wins.
var oldSpellings = map[string]string{
	"queue-sidecar-image":                     "queueSidecarImage",
	"progress-deadline":                       "progressDeadline",
	"digest-resolution-timeout":               "digestResolutionTimeout",
	"registries-skipping-tag-resolving":       "registriesSkippingTagResolving",
	"queue-sidecar-cpu-request":               "queueSidecarCPURequest",
	"queue-sidecar-memory-request":            "queueSidecarMemoryRequest",
	"queue-sidecar-ephemeral-storage-request": "queueSidecarEphemeralStorageRequest",
	"queue-sidecar-cpu-limit":                 "queueSidecarCPULimit",
	"queue-sidecar-memory-limit":              "queueSidecarMemoryLimit",
	"queue-sidecar-ephemeral-storage-limit":   "queueSidecarEphemeralStorageLimit",
}

// noToken are keys of the queue-proxy that Sluice's does not have, with what it lacks.
var noToken = map[string]string{
	"queue-sidecar-token-audiences":       "tokens for extensions of the queue-proxy",
	"queue-sidecar-rootca":                "certificates for extensions of the queue-proxy",
	"queue-sidecar-tls-min-version":       "TLS between gateways and the queue-proxy",
	"queue-sidecar-tls-max-version":       "TLS between gateways and the queue-proxy",
	"queue-sidecar-tls-cipher-suites":     "TLS between gateways and the queue-proxy",
	"queue-sidecar-tls-curve-preferences": "TLS between gateways and the queue-proxy",
}

// readDeployment has the rules of Knative (pkg/deployment/config.go).
func readDeployment(s *Settings, k *keys) {
	d := defaultDeployment()
	for key, old := range oldSpellings {
		k.rename(key, old)
	}
	k.text("queue-sidecar-image", &d.QueueProxyImage)
	if requests := k.resources("queue-sidecar-", "-request"); requests != nil {
		for name, q := range requests {
			d.QueueProxy.Requests[name] = q
		}
	}
	d.QueueProxy.Limits = k.resources("queue-sidecar-", "-limit")
	k.notOver("queue-sidecar-", d.QueueProxy)
	k.duration("progress-deadline", &d.ProgressDeadline, time.Second)
	k.duration("digest-resolution-timeout", &d.DigestTimeout, time.Nanosecond)
	k.list("registries-skipping-tag-resolving", &d.SkipTagResolving)
	read(k, "default-affinity-type", &d.Spread, `"prefer-spread-revision-over-nodes" or "none"`, func(text string) (bool, bool) {
		return text != "none", text == "none" || text == "prefer-spread-revision-over-nodes"
	})
	const classes = `names of RuntimeClasses as YAML, each with "{}" or "{selector: {LABEL: VALUE}}"`
	read(k, "runtime-class-name", &d.RuntimeClasses, classes, runtimeClasses)
	k.boolean("pod-is-always-schedulable", &d.AlwaysSchedulable)
	for key, what := range noToken {
		if text, ok := k.get(key); ok && text != "" {
			k.ignore(key, key+" is set, and Sluice does not have "+what+".")
		}
	}
	s.Deployment = d
}

// runtimeClasses reads Knative's form: a map of names to selectors.
func runtimeClasses(text string) ([]RuntimeClass, bool) {
	var byName map[string]struct {
		Selector map[string]string `json:"selector,omitempty"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &byName); err != nil {
		return nil, false
	}
	var all []RuntimeClass
	for name, c := range byName {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			return nil, false
		}
		for label, value := range c.Selector {
			if len(validation.IsQualifiedName(label)) > 0 || len(validation.IsValidLabelValue(value)) > 0 {
				return nil, false
			}
		}
		all = append(all, RuntimeClass{name, c.Selector})
	}
	slices.SortFunc(all, func(a, b RuntimeClass) int {
		return cmp.Or(len(b.Selector)-len(a.Selector), cmp.Compare(a.Name, b.Name))
	})
	return all, true
}

// QueueProxyResources returns the resources of the sidecar, with the defaults of the feature queueproxy.resource-defaults if that is on.
func (s Settings) QueueProxyResources() corev1.ResourceRequirements {
	r := *s.Deployment.QueueProxy.DeepCopy()
	if s.Features.QueueProxyResourceDefaults {
		r.Requests = withDefaults(r.Requests, map[corev1.ResourceName]string{corev1.ResourceMemory: "400Mi"})
		r.Limits = withDefaults(r.Limits, map[corev1.ResourceName]string{corev1.ResourceCPU: "1000m", corev1.ResourceMemory: "800Mi"})
	}
	return r
}

func withDefaults(list corev1.ResourceList, amounts map[corev1.ResourceName]string) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for name, amount := range amounts {
		if _, ok := list[name]; !ok {
			list[name] = resource.MustParse(amount)
		}
	}
	return list
}
