package config

import (
	"cmp"
	"fmt"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
)

// NetworkName is the ConfigMap of hosts and URLs.
const NetworkName = "config-network"

// Network is config-network.
type Network struct {
	// DomainTemplate and TagTemplate write hosts; nil means Knative's.
	DomainTemplate *rollout.DomainTemplate
	TagTemplate    *rollout.TagTemplate
	// Scheme is that of external URLs.
	Scheme string
	// HTTP says what becomes of external requests without TLS.
	HTTP model.HTTPOption
	// RolloutDuration is how long a new revision takes to get all requests; 0 is at once.
	RolloutDuration time.Duration
	// Claims says that a DomainMapping claims its domain itself.
	Claims bool
}

func defaultNetwork() Network { return Network{Scheme: "http"} }

// networkSpellings are keys with the spelling that they had in older versions of Knative.
var networkSpellings = map[string]string{
	"domain-template": "domainTemplate", "tag-template": "tagTemplate", "http-protocol": "httpProtocol",
	"rollout-duration": "rolloutDuration", "default-external-scheme": "defaultExternalScheme",
	"autocreate-cluster-domain-claims": "autocreateClusterDomainClaims",
}

// networkUnused are the keys that concern parts which Sluice does not have, with the values that ask for nothing.
var networkUnused = map[string][]string{
	"ingress-class": nil, "certificate-class": nil,
	"external-domain-tls": {"", off}, "auto-tls": {"", off}, "cluster-local-domain-tls": {"", off}, "system-internal-tls": {"", off},
	"internal-encryption": {"", "false"}, "enable-mesh-pod-addressability": {"", "false"},
	"mesh-compatibility-mode": {"", "auto", "disabled"}, "namespace-wildcard-cert-selector": {""},
}

func readNetwork(s *Settings, k *keys) {
	for key, old := range networkSpellings {
		k.rename(key, old)
	}
	n := defaultNetwork()
	template(k, "domain-template", &n.DomainTemplate, rollout.ParseDomainTemplate)
	template(k, "tag-template", &n.TagTemplate, rollout.ParseTagTemplate)
	read(k, "default-external-scheme", &n.Scheme, "http or https", func(text string) (string, bool) {
		scheme := spelling(text, "http", "https")
		return scheme, scheme != ""
	})
	read(k, "http-protocol", &n.HTTP, "Enabled, Redirected or Disabled", func(text string) (model.HTTPOption, bool) {
		found := spelling(text, "", enabled, string(model.HTTPRedirected), string(model.HTTPDisabled))
		if found == enabled {
			return "", true
		}
		return model.HTTPOption(found), found != "" || text == ""
	})
	seconds := int64(0)
	k.integer("rollout-duration", &seconds, 0)
	n.RolloutDuration = time.Duration(seconds) * time.Second
	k.boolean("autocreate-cluster-domain-claims", &n.Claims)
	for key, harmless := range networkUnused {
		if text, ok := k.get(key); ok && harmless != nil && spelling(text, harmless...) == "" && text != "" {
			k.ignore(key, fmt.Sprintf("%s is %s, and Sluice does not have it.", key, text))
		}
	}
	s.Network = n
}

// template reads a template of host names.
func template[T any](k *keys, key string, to **T, parse func(string) (*T, error)) {
	text, ok := k.get(key)
	if !ok {
		return
	}
	t, err := parse(text)
	if err != nil {
		k.wrong(key, "a Go template of host names: "+err.Error())
		return
	}
	*to = t
}

// Hosts returns the settings of planning with what config-domain and config-network say of hosts, URLs and gradual rollouts. The domain of o
// counts where config-domain has none for all Routes.
func (s Settings) Hosts(o rollout.Options) rollout.Options {
	o.Domain = cmp.Or(s.Domain.Default, o.Domain, "svc."+cmp.Or(o.ClusterDomain, "cluster.local"))
	o.Domains = s.Domain.Selected
	o.DomainTemplate, o.TagTemplate = s.Network.DomainTemplate, s.Network.TagTemplate
	o.Scheme, o.HTTP = s.Network.Scheme, s.Network.HTTP
	o.RolloutDuration, o.Claims = s.Network.RolloutDuration, s.Network.Claims
	return o
}
