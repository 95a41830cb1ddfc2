package settings

import "time"

// RouteTable is the routes of a RouteConfiguration.
type RouteTable struct {
	Hosts *HostTable
	*RouteSettings
}

// RouteSettings are what a RouteConfiguration says beside its virtual hosts.
type RouteSettings struct {
	Changes LevelChanges
	// MostSpecificWins reverses the order of header changes: route configuration first, weighted cluster last.
	MostSpecificWins bool
	// IgnorePort looks for the virtual host without the port of the request's host.
	IgnorePort bool
}

// VirtualHost is the routes of some domains.
type VirtualHost struct {
	Name    string
	Domains []string // lower case
	Routes  []*Route
	Changes LevelChanges
}

// Route is one condition, and what to do with the requests that meet it: one of Forward, Redirect and Direct is set.
type Route struct {
	Path    PathMatch
	Headers []HeaderMatch
	GRPC    bool // gRPC requests only
	Changes LevelChanges

	Forward  *Forward
	Redirect *Redirect
	Direct   *DirectResponse
}

// Forward sends requests to a cluster.
type Forward struct {
	Clusters []WeightedCluster
	Total    uint32 // the sum of the weights
	NotFound int    // the status when the cluster does not exist

	PrefixRewrite       string // replaces what Route.Path matched; empty changes nothing
	HostRewrite         string // empty changes nothing
	AppendForwardedHost bool

	Timeout     time.Duration // from the end of the request to the end of the response; 0 is no limit
	Idle        time.Duration // without traffic; 0 is no limit, -1 leaves it to Manager.StreamIdle
	MaxDuration time.Duration // of the whole stream; 0 is no limit, -1 leaves it to Manager.MaxDuration
	Retry       Retry
	Upgrades    map[string]bool // by protocol in lower case; overrides Manager.Upgrades
}

// WeightedCluster is one of the clusters of a route.
type WeightedCluster struct {
	Name        string
	Weight      uint32 // at least 1
	HostRewrite string // overrides Forward.HostRewrite; empty does not
	Changes     LevelChanges
}

// Retry says after which failures a request is sent again, to another endpoint. After all of them but RefusedStream and Headers
// nothing of the request has reached an endpoint; after these two the endpoint says that it has not processed the request.
type Retry struct {
	Max    int           // retries of a request; 0 is none
	PerTry time.Duration // to the beginning of the response; 0 is no limit

	ConnectFailure, RefusedStream, ResetBeforeRequest bool
	Headers                                           []HeaderMatch // a response with one of these is a failure
}

// Pick chooses a cluster by weight. draw gives a random number below its argument.
func (f *Forward) Pick(draw func(uint32) uint32) *WeightedCluster {
	if len(f.Clusters) == 1 {
		return &f.Clusters[0]
	}
	n := draw(f.Total)
	for i := range f.Clusters {
		if n < f.Clusters[i].Weight {
			return &f.Clusters[i]
		}
		n -= f.Clusters[i].Weight
	}
	return &f.Clusters[len(f.Clusters)-1]
}

// Find is the first route that a request matches; nil when there is none.
func (vh *VirtualHost) Find(v *Request) *Route {
	for _, r := range vh.Routes {
		if r.match(v) {
			return r
		}
	}
	return nil
}

func (r *Route) match(v *Request) bool {
	if !r.Path.Matches(v.Path) || r.GRPC && !IsGRPC(v.Request) {
		return false
	}
	for i := range r.Headers {
		if !r.Headers[i].match(v) {
			return false
		}
	}
	return true
}
