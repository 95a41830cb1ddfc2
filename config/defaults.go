package config

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// DefaultsName is the ConfigMap of the defaults and bounds of new revisions.
const DefaultsName = "config-defaults"

const (
	keyTimeout       = "revision-timeout-seconds"
	keyMaxTimeout    = "max-revision-timeout-seconds"
	keyResponseStart = "revision-response-start-timeout-seconds"
	keyIdle          = "revision-idle-timeout-seconds"
	keyConcurrency   = "container-concurrency"
	keyMaxConcurrent = "container-concurrency-max-limit"
)

// readDefaults has the rules of Knative (pkg/apis/config/defaults.go).
func readDefaults(s *Settings, k *keys) {
	d := servingv1.KnativeDefaults()
	k.integer(keyTimeout, &d.TimeoutSeconds, 1)
	k.integer(keyMaxTimeout, &d.Bounds.TimeoutSeconds, 1)
	d.ResponseStartTimeoutSeconds = d.TimeoutSeconds
	k.integer(keyResponseStart, &d.ResponseStartTimeoutSeconds, 0)
	k.integer(keyIdle, &d.IdleTimeoutSeconds, 0)
	k.integer(keyConcurrency, &d.ContainerConcurrency, 0)
	k.integer(keyMaxConcurrent, &d.Bounds.ContainerConcurrency, 1)
	zero := !d.Bounds.NeedsConcurrency
	k.boolean("allow-container-concurrency-zero", &zero)
	d.Bounds.NeedsConcurrency = !zero
	read(k, "enable-service-links", &d.EnableServiceLinks, `true, false, or "default" for what Kubernetes does`, triState)
	k.containerName("container-name-template", &d.ContainerName)
	unused := ""
	k.containerName("init-container-name-template", &unused)
	if unused != "" && unused != "init-container" {
		k.ignore("init-container-name-template", "init-container-name-template has no effect: "+
			"each init container needs a name of its own.")
	}
	d.Requests, d.Limits = k.resources("revision-", "-request"), k.resources("revision-", "-limit")
	k.notOver("revision-", corev1.ResourceRequirements{Requests: d.Requests, Limits: d.Limits})
	for _, r := range []struct {
		key      string
		value    int64
		limitKey string
		limit    int64
	}{
		{keyTimeout, d.TimeoutSeconds, keyMaxTimeout, d.Bounds.TimeoutSeconds},
		{keyResponseStart, d.ResponseStartTimeoutSeconds, keyTimeout, d.TimeoutSeconds},
		{keyIdle, d.IdleTimeoutSeconds, keyTimeout, d.TimeoutSeconds},
		{keyConcurrency, d.ContainerConcurrency, keyMaxConcurrent, d.Bounds.ContainerConcurrency},
	} {
		if r.value > r.limit {
			k.conflict(r.key, r.value, "at most", r.limitKey, r.limit)
		}
	}
	s.Defaults = d
}

// triState reads a boolean. Knative leaves it to Kubernetes with any other text; here that is the word "default" or an empty text.
func triState(text string) (*bool, bool) {
	switch strings.ToLower(text) {
	case "true":
		return new(true), true
	case "false":
		return new(false), true
	case "default", "":
		return nil, true
	}
	return nil, false
}

// containerName reads a text/template over the metadata of a Service or Configuration that gives the name of a container.
func (k *keys) containerName(key string, to *string) {
	const want = `a name of lower-case letters, digits and dashes, or a template of one such as "{{.Name}}"`
	read(k, key, to, want, func(text string) (string, bool) {
		name, err := servingv1.NameContainer(text, metav1.ObjectMeta{Name: "hello", Namespace: "default"})
		return text, err == nil && len(validation.IsDNS1123Label(name)) == 0 && name != "queue-proxy"
	})
}

// resources reads the amounts of CPU, memory and ephemeral storage whose keys begin and end like this. It returns nil when there is none.
func (k *keys) resources(begin, end string) corev1.ResourceList {
	var all corev1.ResourceList
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q := k.quantity(begin + string(name) + end); q != nil {
			if all == nil {
				all = corev1.ResourceList{}
			}
			all[name] = *q
		}
	}
	return all
}
