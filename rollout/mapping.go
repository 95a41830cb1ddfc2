package rollout

import (
	"fmt"

	"sluice.dev/sluice/model"
)

// MappingInput is what the plan of a DomainMapping depends on.
type MappingInput struct {
	Mapping *model.Mapping
	// Claimant is the namespace that has a claim to the domain; empty when none has.
	Claimant string
	// ClaimFailure is why no claim could be made; empty when none was tried, or one was made.
	ClaimFailure string
	// TargetExists says that there is an object of the target's kind and name.
	TargetExists bool
	// Certificate is what is known of the Secret; it is not used when the DomainMapping names none.
	Certificate MappingCertificate
	// Known says that the data plane has acknowledged anything of this process, Programmed that it serves the domain as planned before.
	Known, Programmed bool
	Options           Options
}

// MappingCertificate is what is known of the certificate of a DomainMapping.
type MappingCertificate struct {
	// Name is that of the certificate that gateways serve; empty when they have none.
	Name string
	// Problem is what is wrong with the Secret, a sentence; empty when all is right. With a Name, an earlier certificate is still served.
	Problem string
}

// MappingPlan is what should become of a DomainMapping.
type MappingPlan struct {
	// Serve says that the data plane serves the domain, by Rule with the shares of the Route named Target.
	Serve  bool
	Rule   model.Rule
	Target model.Key
	// URL is where clients reach it.
	URL string
	// Conditions are for the status, sorted by type.
	Conditions []model.Condition
}

// Mapping plans a DomainMapping. It serves a domain that is claimed and whose target exists, with or without its certificate.
func Mapping(in MappingInput) MappingPlan {
	m := in.Mapping
	claimed, resolved := in.claimed(), in.resolved()
	plan := MappingPlan{
		Serve:  claimed.Status == model.True && resolved.Status == model.True,
		Rule:   model.Rule{Hosts: []string{m.Key.Name}, HTTP: in.Options.httpOf(m.HTTP)},
		Target: m.Target.Key,
		URL:    in.Options.urlOf(m.Key.Name, in.Options.Scheme),
	}
	if m.Secret != "" {
		plan.URL = in.Options.urlOf(m.Key.Name, "https")
		plan.Rule.Certificate = in.Certificate.Name
		if in.Certificate.Name == "" {
			plan.Rule.HTTP = "" // HTTPS would fail
		}
	}
	plan.Conditions = Conclude(claimed, resolved, in.ingress(plan.Serve), in.certificate())
	return plan
}

// claimed says whether the domain belongs to the namespace.
func (in MappingInput) claimed() model.Condition {
	c := model.Condition{Type: model.DomainClaimed, Status: model.False}
	domain := in.Mapping.Key.Name
	switch {
	case within(domain, in.Options.clusterDomain()):
		c.Reason = "DomainClaimFailed"
		c.Message = fmt.Sprintf("The domain name %q is one within the cluster: it must not end with %s.",
			domain, in.Options.clusterDomain())
	case in.Claimant == in.Mapping.Key.Namespace:
		return model.Condition{Type: model.DomainClaimed, Status: model.True}
	case in.Claimant != "":
		c.Reason, c.Message = "DomainAlreadyClaimed", "The domain name is already in use by another DomainMapping"
	case in.ClaimFailure != "":
		c.Reason, c.Message = "DomainClaimFailed", "Failed to create ClusterDomainClaim: "+in.ClaimFailure
	default:
		c.Reason = "DomainClaimFailed"
		c.Message = fmt.Sprintf("no ClusterDomainClaim found for domain %q (and autocreate-cluster-domain-claims property is not true): "+
			"an administrator must give the domain to the namespace %q with one.", domain, in.Mapping.Key.Namespace)
	}
	return c
}

// servingGroup is the API group of the kinds that a domain can be mapped to.
const servingGroup = "serving.knative.dev"

// resolved says whether the target is one that a domain can be mapped to.
func (in MappingInput) resolved() model.Condition {
	c := model.Condition{Type: model.ReferenceResolved, Status: model.False, Reason: "ResolveFailed"}
	target, own := in.Mapping.Target, in.Mapping.Key.Namespace
	switch {
	case in.Mapping.Group != servingGroup || target.Kind != "Service" && target.Kind != "Route":
		c.Message = fmt.Sprintf("spec.ref names a %s of the group %q: want a Service or a Route of %s.",
			target.Kind, in.Mapping.Group, servingGroup)
	case target.Key.Namespace != own:
		c.Message = fmt.Sprintf("spec.ref names the namespace %q: the target must be in the namespace of the DomainMapping, %q.",
			target.Key.Namespace, own)
	case !in.TargetExists:
		c.Message = fmt.Sprintf("%s %q referenced in spec.ref not found.", target.Kind, target.Key.Name)
	default:
		return model.Condition{Type: model.ReferenceResolved, Status: model.True}
	}
	return c
}

// ingress says whether the data plane serves the domain.
func (in MappingInput) ingress(serve bool) model.Condition {
	c := model.Condition{Type: model.IngressReady, Status: model.Unknown}
	before := model.FindCondition(in.Mapping.Conditions, model.IngressReady)
	restarted := !in.Known && before.Status == model.True && in.Mapping.Observed == in.Mapping.Generation
	switch {
	case !serve:
		c.Reason, c.Message = "IngressNotConfigured", "Ingress has not yet been reconciled."
	case in.Programmed, restarted: // after a restart the data plane still serves what it was sent before
		c.Status = model.True
	default:
		c.Reason, c.Message = "Uninitialized", "Waiting for load balancer to be ready"
	}
	return c
}

// certificate says whether the domain has the certificate that the DomainMapping asks for.
func (in MappingInput) certificate() model.Condition {
	c := model.Condition{Type: model.CertificateProvisioned, Status: model.True}
	switch {
	case in.Mapping.Secret == "":
		c.Reason, c.Message = "TLSNotEnabled", notEnabled
	case in.Certificate.Problem == "":
		c.Reason, c.Message = "CertificateExternallyProvided", "TLS certificate was provided externally"
	default:
		c.Status, c.Reason, c.Message = model.False, "CertificateProvisionFailed", in.Certificate.Problem
		if in.Certificate.Name != "" {
			c.Message += " The certificate that it had before is still served."
		}
	}
	return c
}
