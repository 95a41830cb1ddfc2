package settings

import "time"

// Manager is an HTTP connection manager. One of RDS, Inline and Fragments says where its routes are.
type Manager struct {
	StatPrefix string

	RDS       string      // the name of a route configuration
	Inline    *RouteTable // the routes within the listener
	Fragments int         // routes by scope: how many times the key of a scope repeats the host

	HeadersTimeout time.Duration // for the head of a request; 0 is no limit, here and below
	ConnectionIdle time.Duration // for a connection without requests
	StreamIdle     time.Duration // for a stream without traffic
	MaxDuration    time.Duration // for a whole stream

	MaxHeaderBytes int
	MaxHeaders     int // header lines of a request
	MaxStreams     int // at once on an HTTP/2 connection

	Upgrades map[string]bool // by protocol in lower case

	StripPort            PortStripping
	StripDot             bool // the trailing dot of a host
	Normalize            bool // resolve . and .. segments of the path
	MergeSlashes         bool
	RejectEscapedSlashes bool

	Edge               bool // use_remote_address: the clients are not trusted proxies
	AppendForwardedFor bool
	TrustedHops        uint32

	RequestID           bool // give each request an x-request-id
	OverwriteRequestID  bool // even if the client has sent one
	RequestIDInResponse bool

	Tracing Tracing
}

// Tracing says which requests get spans, and where these go. The fields are those of model.Tracing; without a Protocol there are none.
type Tracing struct {
	Protocol, Endpoint string
	SamplingRate       float64
}

// PortStripping is when the port is taken off a request's host.
type PortStripping int

// The values of PortStripping.
const (
	KeepPort          PortStripping = iota
	StripMatchingPort               // the port of the listener
	StripAnyPort
)
