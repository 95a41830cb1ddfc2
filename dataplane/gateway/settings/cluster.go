package settings

import "time"

// Cluster is a named group of endpoints.
type Cluster struct {
	Version string
	Body    []byte // the message that it was made from, for /config_dump

	EDS    string     // the name of its endpoint assignment; empty for Static
	Static *Endpoints // its endpoints, where they are in the cluster itself

	Policy         Balancing
	Protocol       Protocol
	ConnectTimeout time.Duration
	Outliers       OutlierDetection
	Pings          bool // HTTP/2 connections are checked by pings
	SingleUse      bool // an HTTP/1.1 connection carries one request
}

// Protocol is what endpoints are spoken to in.
type Protocol int

// The protocols.
const (
	HTTP1 Protocol = iota
	H2C            // HTTP/2 without TLS
	SameAsDownstream
)

// Balancing is how an endpoint is chosen.
type Balancing int

// The load balancing policies.
const (
	RoundRobin   Balancing = iota
	LeastRequest           // the less busy of two random ones
	Random
)

// OutlierDetection says after how many failures in a row a host is ejected, and for how long. A failure is an attempt that could not
// connect, lost its connection or ran out of time; no response is one. Unlike in Envoy, each ejection of a host is as long as the first.
type OutlierDetection struct {
	Failures int32 // 0 ejects none
	Ejection time.Duration
}

// Endpoints are the endpoints of a cluster (a ClusterLoadAssignment).
type Endpoints struct {
	Version    string
	Body       []byte // the message that they were made from, for /config_dump
	Localities []Locality
}

// Locality is endpoints of one zone and priority.
type Locality struct {
	Zone      string
	Priority  uint32 // 0 is asked first
	Weight    uint32 // among the localities of its priority; 0 where none was given
	Endpoints []Endpoint
}

// Endpoint is an endpoint as the control plane describes it.
type Endpoint struct {
	Address string // host:port
	Weight  uint32 // within its locality; at least 1
	Health  Health
}

// Health is Envoy's HealthStatus; the numbers are those of the API.
type Health int32

// The states of an endpoint's health.
const (
	HealthUnknown Health = iota
	HealthHealthy
	HealthUnhealthy
	HealthDraining
	HealthTimeout
	HealthDegraded
)

// Usable is whether requests may go to the endpoint.
func (h Health) Usable() bool {
	return h != HealthUnhealthy && h != HealthDraining && h != HealthTimeout
}
