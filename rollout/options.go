package rollout

import (
	"cmp"
	"time"

	"sluice.dev/sluice/model"
)

// Options are the settings of an installation. Zero fields mean Knative's defaults.
type Options struct {
	// Domain is the domain of external hosts, NAME.NAMESPACE.DOMAIN, for Routes that none of Domains is for; empty means localhost. A Route
	// whose domain is svc.CLUSTERDOMAIN is cluster-local.
	Domain string
	// Domains are the domains of Routes with certain labels.
	Domains []Domain
	// ClusterDomain is the domain of local hosts, NAME.NAMESPACE.svc.CLUSTERDOMAIN; empty means cluster.local.
	ClusterDomain string
	// DomainTemplate and TagTemplate write external hosts, and the first label of a tag's host; nil means DefaultDomainTemplate and
	// DefaultTagTemplate.
	DomainTemplate *DomainTemplate
	TagTemplate    *TagTemplate
	// Scheme is the scheme of external URLs; empty means http.
	Scheme string
	// Port is the port of external URLs, and SecurePort that of those with https where Scheme is another one; 0 means the scheme's own,
	// which is not written.
	Port, SecurePort int
	// HTTP says what becomes of external requests without TLS to Routes that do not say it.
	HTTP model.HTTPOption
	// RolloutDuration is that of Routes without one of their own; 0 means that a new revision has its whole share at once.
	RolloutDuration time.Duration
	// Claims says that a DomainMapping may claim its domain itself when no ClusterDomainClaim is for it.
	Claims bool
	// Retention says how long revisions that no Route names are kept; nil means DefaultRetention.
	Retention *Retention
	// ProgressDeadline is how long a revision may take to become ready when it does not say; 0 means DefaultProgressDeadline.
	ProgressDeadline time.Duration
}

// DurationOf is how long it takes until a new revision has its whole share of a Route; 0 is at once.
func (o Options) DurationOf(route *model.RouteSpec) time.Duration {
	return cmp.Or(route.RolloutDuration, o.RolloutDuration)
}

// Disabled switches a rule of a Retention off.
const Disabled = -1

// Retention are the rules for revisions that no Route names, as Knative's config-gc has them. Disabled (-1) switches a rule off.
type Retention struct {
	// SinceCreated is the least age of a revision that may go, SinceActive the least time since a Route last named it.
	SinceCreated, SinceActive time.Duration
	// Min is how many are kept whatever their age.
	Min int
	// Max is how many are kept at most, whatever their age.
	Max int
}

// DefaultRetention returns Knative's rules.
func DefaultRetention() Retention {
	return Retention{SinceCreated: 48 * time.Hour, SinceActive: 15 * time.Hour, Min: 20, Max: 1000}
}
