package config

import (
	"fmt"
	"slices"
	"strings"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

// FeaturesName is the ConfigMap of the features that can be switched.
const FeaturesName = "config-features"

// Features are those of Knative's features that Sluice can switch. What they mean for templates is in Settings.Defaults too.
type Features struct {
	// MultiContainer lets templates have several containers, EmptyDir volumes of that kind.
	MultiContainer, EmptyDir bool
	// QueueProxyResourceDefaults gives queue-proxies a memory request, and limits.
	QueueProxyResourceDefaults bool
	// SecurePodDefaults gives containers a security context.
	SecurePodDefaults servingv1.Secure
	// Pods are the features on which fields of pods depend (servingv1.Need), by key. Those that are not enabled are missing.
	Pods map[string]bool
}

// ofPods are the features on which fields of pods depend. All are off by default.
var ofPods = []string{
	"kubernetes.podspec-affinity",
	"kubernetes.podspec-dnsconfig",
	"kubernetes.podspec-dnspolicy",
	"kubernetes.podspec-hostaliases",
	"kubernetes.podspec-init-containers",
	"kubernetes.podspec-nodeselector",
	"kubernetes.podspec-priorityclassname",
	"kubernetes.podspec-runtimeclassname",
	"kubernetes.podspec-schedulername",
	"kubernetes.podspec-securitycontext",
	"kubernetes.podspec-tolerations",
	"kubernetes.podspec-topologyspreadconstraints",
}

func defaultFeatures() Features { return Features{MultiContainer: true, EmptyDir: true} }

// alwaysOn are the features that Sluice always has, and that cannot be switched off.
var alwaysOn = []string{"multi-container-probing", "tag-header-based-routing"}

// absent are the features that Sluice does not have, by key, with what they would allow.
var absent = map[string]string{
	"autodetect-http2":                             "finding out whether an application speaks HTTP/2: name its port h2c",
	"kubernetes.containerspec-addcapabilities":     "capabilities besides Knative's",
	"kubernetes.podspec-fieldref":                  "env with fieldRef",
	"kubernetes.podspec-hostipc":                   "hostIPC",
	"kubernetes.podspec-hostnetwork":               "hostNetwork",
	"kubernetes.podspec-hostpid":                   "hostPID",
	"kubernetes.podspec-persistent-volume-claim":   "volumes of PersistentVolumeClaims",
	"kubernetes.podspec-persistent-volume-write":   "volumes of PersistentVolumeClaims that can be written",
	"kubernetes.podspec-shareprocessnamespace":     "shareProcessNamespace",
	"kubernetes.podspec-volumes-csi":               "csi volumes",
	"kubernetes.podspec-volumes-ephemeral":         "ephemeral volumes",
	"kubernetes.podspec-volumes-hostpath":          "hostPath volumes",
	"kubernetes.podspec-volumes-image":             "image volumes",
	"kubernetes.podspec-volumes-mount-propagation": "mountPropagation",
	"queueproxy.mount-podinfo":                     "a volume with the pod's metadata in the queue-proxy",
}

// Values of a feature. Allowed leaves the choice to a template; here it means the same as Enabled.
const (
	enabled, allowed, off = "Enabled", "Allowed", "Disabled"
)

func readFeatures(s *Settings, k *keys) {
	f := defaultFeatures()
	k.flag("multi-container", &f.MultiContainer)
	k.flag("kubernetes.podspec-volumes-emptydir", &f.EmptyDir)
	k.flag("queueproxy.resource-defaults", &f.QueueProxyResourceDefaults)
	const secure = "secure-pod-defaults"
	read(k, secure, &f.SecurePodDefaults, "Enabled, AllowRootBounded or Disabled", func(text string) (servingv1.Secure, bool) {
		switch found := spelling(text, enabled, string(servingv1.SecureRootAllowed), off); found {
		case "":
			return "", false
		case off:
			return servingv1.SecureOff, true
		default:
			return servingv1.Secure(found), true
		}
	})
	for _, key := range alwaysOn {
		on := true
		if k.flag(key, &on); !on {
			k.ignore(key, fmt.Sprintf("%s is Disabled, and Sluice cannot switch it off.", key))
		}
	}
	for key, what := range absent {
		on := false
		if k.flag(key, &on); on {
			k.ignore(key, fmt.Sprintf("%s is %s, and Sluice does not have it: templates cannot have %s.", key, k.data[key], what))
		}
	}
	for _, key := range ofPods {
		on := false
		if k.flag(key, &on); on {
			if f.Pods == nil {
				f.Pods = map[string]bool{}
			}
			f.Pods[key] = true
		}
	}
	s.Features = f
}

// flag reads whether a feature is on.
func (k *keys) flag(key string, on *bool) {
	read(k, key, on, "Enabled, Allowed or Disabled", func(text string) (bool, bool) {
		found := spelling(text, enabled, allowed, off)
		return found == enabled || found == allowed, found != ""
	})
}

// spelling returns the one of several words that a text is, whatever its case, and "" when it is none.
func spelling(text string, words ...string) string {
	at := slices.IndexFunc(words, func(word string) bool { return strings.EqualFold(word, text) })
	if at < 0 {
		return ""
	}
	return words[at]
}
