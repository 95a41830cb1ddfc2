package rollout

import "time"

// Options are the settings of an installation. Zero fields mean Knative's defaults.
type Options struct {
	// Domain is the domain of external hosts, NAME.NAMESPACE.DOMAIN; empty means localhost.
	Domain string
	// ClusterDomain is the domain of local hosts, NAME.NAMESPACE.svc.CLUSTERDOMAIN; empty means cluster.local.
	ClusterDomain string
	// Scheme is the scheme of external URLs; empty means http.
	Scheme string
	// Port is the port of external URLs; 0 means the scheme's own, which is not written.
	Port int
	// Retention says how long revisions that no Route names are kept; nil means DefaultRetention.
	Retention *Retention
	// ProgressDeadline is how long a revision may take to become ready when it does not say; 0 means DefaultProgressDeadline.
	ProgressDeadline time.Duration
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
