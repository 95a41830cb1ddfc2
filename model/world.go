package model

import (
	"slices"
	"time"
)

// World is everything that the data plane serves at one moment. It is immutable and shares structure with
// the World before it: a Route or Backend that did not change keeps its pointer.
//
// Its values are compared to find out what has changed. A field that Equal does not compare is a change that never reaches Envoy, so a
// test changes each field and requires Equal to notice.
type World struct {
	// Generation numbers the Worlds of one process, so that an acknowledgement can name one. It is not translated.
	Generation uint64
	// Gateway says where the gateway listens.
	Gateway Gateway
	// Routes are sorted by Key; no two have the same.
	Routes []*Route
	// Backends are the revisions that a Route names or that still run, sorted by Revision; no two have the same.
	Backends []*Backend
	// Activators are the addresses of all activators, sorted.
	Activators []Endpoint
	// ActivatorToken is the secret by which queue-proxies recognize activators (see contract.Signer). It must never be logged.
	ActivatorToken string
}

// Gateway is where the gateway listens. A listener with an empty address does not exist.
type Gateway struct {
	// HTTP is the address (host:port) of the plain listener for hosts that are visible from outside.
	HTTP string
	// HTTPS is the same over TLS; it exists only when there are Certificates.
	HTTPS string
	// Local is the address of the listener for cluster-local hosts.
	Local string
	// HTTPSPort is the port at which clients reach HTTPS, for redirects; 0 means 443.
	HTTPSPort int
	// Certificates are served on HTTPS, chosen by server name; the first is the default.
	Certificates []Certificate
	// NoDefault says that not even the first certificate is for names that no certificate has: their handshakes fail.
	NoDefault bool
	// Routes is the form in which routes reach the gateway; empty means Inline.
	Routes RouteForm
	// Tracing says which requests get spans. It is for activators too.
	Tracing Tracing
	// CollectorRoots are the authorities, as PEM, that Envoy trusts for a collector over TLS. The others have those of their system.
	CollectorRoots string
}

// Equal says whether two gateways are the same.
func (g Gateway) Equal(o Gateway) bool {
	return g.HTTP == o.HTTP && g.HTTPS == o.HTTPS && g.Local == o.Local && g.Routes == o.Routes &&
		g.Tracing == o.Tracing && g.CollectorRoots == o.CollectorRoots &&
		g.HTTPSPort == o.HTTPSPort && g.NoDefault == o.NoDefault &&
		slices.EqualFunc(g.Certificates, o.Certificates, Certificate.Equal)
}

// RouteForm is the form in which routes reach a gateway.
type RouteForm string

const (
	// Inline puts the virtual hosts of all Routes into one RouteConfiguration for each listener. Every gateway understands it, and
	// rebuilds all of it when one Route changes.
	Inline RouteForm = "inline"
	// Scoped makes the routes of each host a resource of its own, found by SRDS, so that a change costs as much as has changed. Envoy
	// and the built-in gateway understand it.
	Scoped RouteForm = "scoped"
)

// Route is one Route of the API, resolved: hosts and the revisions behind them.
type Route struct {
	// Key is the Route's own namespace and name.
	Key Key
	// Owner is the object whose status shows a Problem with this Route.
	Owner Ref
	// Created is when the Route was created. Of two Routes that claim one host the older one has it, then the one with the lower Key.
	Created time.Time
	// Yields says that any Route that does not yield has the hosts that both claim, however young it is.
	Yields bool
	// Rules are one per virtual host: the default one first, then one per tag, sorted by tag.
	Rules []Rule
}

// Equal says whether two routes are the same.
func (r Route) Equal(o Route) bool {
	return r.Key == o.Key && r.Owner == o.Owner && r.Created.Equal(o.Created) && r.Yields == o.Yields &&
		slices.EqualFunc(r.Rules, o.Rules, Rule.Equal)
}

// Rule is one virtual host: some hosts, and the shares of their requests.
type Rule struct {
	// Tag is empty for the default rule.
	Tag string
	// Hosts are visible from outside; empty when the Route is cluster-local.
	Hosts []string
	// LocalHosts are the names within the cluster: h.ns, h.ns.svc, h.ns.svc.cluster.local.
	LocalHosts []string
	// Shares split the requests and sum to 100 percent. A Rule without shares answers 503: no revision has been ready yet.
	Shares []Share
	// TagHeader are the tags that the header Knative-Serving-Tag routes to on this Rule's hosts; set on the default rule only.
	TagHeader []TagShare
	// HTTP says what becomes of requests to Hosts that come without TLS.
	HTTP HTTPOption
	// Certificate names the one of the gateway's Certificates that is for Hosts; empty means its default one.
	Certificate string
}

// HTTPOption says what becomes of external requests without TLS. It has no effect where the gateway has no certificate for the host:
// a redirect would lead nowhere.
type HTTPOption string

// The options; the empty one means that such requests are served.
const (
	// HTTPRedirected answers them with a redirect to HTTPS.
	HTTPRedirected HTTPOption = "Redirected"
	// HTTPDisabled refuses them.
	HTTPDisabled HTTPOption = "Disabled"
)

// Mapped returns the rule of a host that is mapped to a Route with the rule r: what r says, for the names and the TLS of own.
func (r Rule) Mapped(own Rule) Rule {
	r.Tag, r.Hosts, r.LocalHosts, r.HTTP, r.Certificate = own.Tag, own.Hosts, own.LocalHosts, own.HTTP, own.Certificate
	return r
}

// Equal says whether two rules are the same.
func (r Rule) Equal(o Rule) bool {
	return r.Tag == o.Tag && r.HTTP == o.HTTP && r.Certificate == o.Certificate &&
		slices.Equal(r.Hosts, o.Hosts) && slices.Equal(r.LocalHosts, o.LocalHosts) &&
		slices.Equal(r.Shares, o.Shares) && slices.Equal(r.TagHeader, o.TagHeader)
}

// Share is the part of a Rule's requests that one revision gets.
type Share struct {
	// Revision names a Backend of the World.
	Revision Key
	// Percent is 1 to 100.
	Percent int
}

// TagShare is a tag and the revision that it names.
type TagShare struct {
	Tag      string
	Revision Key
}

// Backend is one routed revision as the data plane sees it: one cluster and one endpoint assignment.
type Backend struct {
	// Revision is the identity, and the name of the cluster.
	Revision Key
	// Owner is the object whose status shows a Problem with this Backend.
	Owner Ref
	// Protocol is spoken to the endpoints.
	Protocol Protocol
	// Direct says that the endpoints are the applications themselves, without a queue-proxy before them.
	Direct bool
	// Endpoints are the ready queue-proxies of the revision, sorted.
	Endpoints []Endpoint
	// Via says whether requests go to the endpoints or through activators.
	Via Via
	// Activators is how many activators serve it when Via is ViaActivator; 0 means two.
	Activators int
	// Concurrency is how many requests one endpoint may have at a time; 0 means no limit. It is for activators.
	Concurrency int
	// Tasks says that each request is a task, which waits in the queue of one activator, the revision's owner, until a replica is free.
	// Gateways know the activators alone. MaxWaiting is how many may wait; 0 leaves it to the activator.
	Tasks      bool
	MaxWaiting int
	// Timeout bounds a request, its wait for an endpoint included; 0 means no bound. Activators enforce it, and gateways bound the time
	// to the response by it.
	Timeout time.Duration
	// Failure is why the revision gets no endpoint, so that requests need not wait for one; nil while one may come.
	Failure *Failure
	// Start are the moments of the revision's last start from zero, to report what the time of a cold start was spent on.
	Start Start
}

// Equal says whether two backends are the same.
func (b Backend) Equal(o Backend) bool {
	return b.Revision == o.Revision && b.Owner == o.Owner && b.Protocol == o.Protocol && b.Direct == o.Direct &&
		b.Via == o.Via && b.Activators == o.Activators && b.Concurrency == o.Concurrency && b.Timeout == o.Timeout &&
		b.sameTasks(o) && b.Failure.equal(o.Failure) && b.Start == o.Start && slices.Equal(b.Endpoints, o.Endpoints)
}

func (b Backend) sameTasks(o Backend) bool { return b.Tasks == o.Tasks && b.MaxWaiting == o.MaxWaiting }

func (f *Failure) equal(o *Failure) bool { return f == o || f != nil && o != nil && *f == *o }

// Start are the moments of a start from zero; all are zero when they are unknown.
type Start struct {
	// Asked is when the runtime was asked for a replica, Started when the replica's process existed, Ready when it
	// was ready for requests.
	Asked, Started, Ready time.Time
}

// Endpoint is a network address.
type Endpoint struct {
	// Host is an IP address.
	Host string
	// Port is 1 to 65535.
	Port int
}

// Protocol is what a container speaks.
type Protocol string

// The protocols of a container's port.
const (
	HTTP1 Protocol = "http1"
	H2C   Protocol = "h2c"
)

// Via is how requests reach a revision.
type Via string

// Requests go straight to the replicas, or through the activator.
const (
	ViaReplicas  Via = "replicas"
	ViaActivator Via = "activator"
)
