package rollout

import (
	"testing"

	"sluice.dev/sluice/model"
)

// mappingOf is www.example.com for the Service hello.
func mappingOf() *model.Mapping {
	return &model.Mapping{
		Key: key("www.example.com"), Generation: 1, Group: "serving.knative.dev", Target: model.Ref{Kind: "Service", Key: key("hello")},
	}
}

func TestMapping(t *testing.T) {
	redirected := model.HTTPRedirected
	type is struct {
		status          model.Status
		reason, message string
	}
	notYet := is{model.Unknown, "IngressNotConfigured", "Ingress has not yet been reconciled."}
	waiting := is{model.Unknown, "Uninitialized", "Waiting for load balancer to be ready"}
	yes := is{status: model.True}
	for name, c := range map[string]struct {
		change func(*MappingInput)
		want   map[string]is
		serve  bool
		rule   model.Rule
		url    string
	}{
		"is served": {
			func(in *MappingInput) { in.Known, in.Programmed = true, true },
			map[string]is{model.Ready: yes, model.DomainClaimed: yes, model.ReferenceResolved: yes, model.IngressReady: yes,
				model.CertificateProvisioned: {model.True, "TLSNotEnabled", "external-domain-tls is not enabled"}},
			true, model.Rule{}, "",
		},
		"the gateways do not have it yet": {func(in *MappingInput) { in.Known = true },
			map[string]is{model.Ready: waiting, model.IngressReady: waiting}, true, model.Rule{}, ""},
		"a restart": {
			func(in *MappingInput) {
				in.Mapping.Observed, in.Mapping.Conditions = 1, []model.Condition{{Type: model.IngressReady, Status: model.True}}
			},
			map[string]is{model.Ready: yes}, true, model.Rule{}, "",
		},
		"a restart after a change": {
			func(in *MappingInput) {
				in.Mapping.Conditions = []model.Condition{{Type: model.IngressReady, Status: model.True}}
			},
			map[string]is{model.Ready: waiting}, true, model.Rule{}, "",
		},
		"nobody has a claim": {
			func(in *MappingInput) { in.Claimant = "" },
			map[string]is{model.IngressReady: notYet, model.DomainClaimed: {model.False, "DomainClaimFailed",
				`no ClusterDomainClaim found for domain "www.example.com" (and autocreate-cluster-domain-claims property is not true): ` +
					`an administrator must give the domain to the namespace "default" with one.`}},
			false, model.Rule{}, "",
		},
		"another namespace has it": {
			func(in *MappingInput) { in.Claimant = "other" },
			map[string]is{model.DomainClaimed: {model.False, "DomainAlreadyClaimed",
				"The domain name is already in use by another DomainMapping"}},
			false, model.Rule{}, "",
		},
		"the claim cannot be made": {
			func(in *MappingInput) { in.Claimant, in.ClaimFailure = "", "no right" },
			map[string]is{model.DomainClaimed: {model.False, "DomainClaimFailed", "Failed to create ClusterDomainClaim: no right"}}, false,
			model.Rule{}, "",
		},
		"a name of the cluster": {
			func(in *MappingInput) { in.Mapping.Key.Name, in.Options.ClusterDomain = "hello.other.svc.corp", "corp" },
			map[string]is{model.DomainClaimed: {model.False, "DomainClaimFailed",
				`The domain name "hello.other.svc.corp" is one within the cluster: it must not end with corp.`}},
			false, model.Rule{Hosts: []string{"hello.other.svc.corp"}}, "http://hello.other.svc.corp",
		},
		"no target": {
			func(in *MappingInput) { in.TargetExists = false },
			map[string]is{model.ReferenceResolved: {model.False, "ResolveFailed", `Service "hello" referenced in spec.ref not found.`}},
			false, model.Rule{}, "",
		},
		"a target of another group": {
			func(in *MappingInput) { in.Mapping.Group = "" },
			map[string]is{model.ReferenceResolved: {model.False, "ResolveFailed",
				`spec.ref names a Service of the group "": want a Service or a Route of serving.knative.dev.`}},
			false, model.Rule{}, "",
		},
		"a target in another namespace": {
			func(in *MappingInput) { in.Mapping.Target.Key.Namespace = "other" },
			map[string]is{model.ReferenceResolved: {model.False, "ResolveFailed",
				`spec.ref names the namespace "other": the target must be in the namespace of the DomainMapping, "default".`}},
			false, model.Rule{}, "",
		},
		"a Route": {func(in *MappingInput) { in.Mapping.Target.Kind = "Route" }, map[string]is{model.ReferenceResolved: yes}, true,
			model.Rule{}, ""},
		"a certificate and a redirect": {
			func(in *MappingInput) {
				in.Mapping.Secret, in.Certificate.Name, in.Mapping.HTTP = "cert", "default/cert", &redirected
			},
			map[string]is{model.CertificateProvisioned: {model.True, "CertificateExternallyProvided",
				"TLS certificate was provided externally"}},
			true, model.Rule{HTTP: model.HTTPRedirected, Certificate: "default/cert"}, "https://www.example.com",
		},
		"no certificate is no redirect": {
			func(in *MappingInput) {
				in.Mapping.Secret, in.Certificate.Problem, in.Options.HTTP = "cert", "It is missing.", model.HTTPRedirected
			},
			map[string]is{model.CertificateProvisioned: {model.False, "CertificateProvisionFailed", "It is missing."}},
			true, model.Rule{}, "https://www.example.com",
		},
		"an earlier certificate": {
			func(in *MappingInput) {
				in.Mapping.Secret, in.Certificate, in.Options.Port, in.Options.SecurePort = "cert", MappingCertificate{"default/cert",
					"It is broken."}, 8080, 8443
			},
			map[string]is{model.CertificateProvisioned: {model.False, "CertificateProvisionFailed",
				"It is broken. The certificate that it had before is still served."}},
			true, model.Rule{Certificate: "default/cert"}, "https://www.example.com:8443",
		},
		"the default of the installation": {
			func(in *MappingInput) { in.Options = Options{HTTP: model.HTTPDisabled, Scheme: "https", Port: 8443} },
			nil, true, model.Rule{HTTP: model.HTTPDisabled}, "https://www.example.com:8443",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := MappingInput{Mapping: mappingOf(), Claimant: "default", TargetExists: true}
			c.change(&in)
			plan := Mapping(in)
			for kind, w := range c.want {
				says(t, plan.Conditions, kind, w.status, w.reason, w.message)
			}
			if c.rule.Hosts == nil {
				c.rule.Hosts = []string{"www.example.com"}
			}
			if c.url == "" {
				c.url = "http://www.example.com"
			}
			check(t, "serve", plan.Serve, c.serve)
			check(t, "rule", plan.Rule, c.rule)
			check(t, "url", plan.URL, c.url)
			check(t, "conditions", len(plan.Conditions), 5)
		})
	}
}
