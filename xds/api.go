package xds

import (
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/contract"
)

// Type URLs of the resources whose order matters. Other types are served too, with the make phase and in no particular order.
const (
	ClusterType  = resource.ClusterType
	EndpointType = resource.EndpointType
	SecretType   = resource.SecretType
	ListenerType = resource.ListenerType
	RouteType    = resource.RouteType

	ScopedRouteType = resource.ScopedRouteType
)

// Roles: which kinds of client may have a resource.
const (
	RoleGateway   = contract.RoleGateway
	RoleActivator = contract.RoleActivator
	RoleMesh      = contract.RoleMesh
)

// roleCount is the number of roles; a role's index is the position of its bit.
const roleCount = 3

// RoleName is how a role is written in logs and statistics.
func RoleName(role uint8) string { return contract.RoleName(role) }

// roleOf is the role of a client with this node.cluster.
func roleOf(cluster string) uint8 { return contract.RoleOf(cluster) }

// Resource is one Envoy resource, ready to send. It is shared and never changed after it was given to Apply.
type Resource struct {
	Type    string // type URL
	Name    string
	Version string // content hash: equal versions of one name mean equal bodies, on every replica and after every restart
	Body    []byte // the message's bytes: the value of the Any
	Roles   uint8  // which clients may have it; the same type and name may exist once for each role
}

// Update is a step from one state to the next. Of a resource in Removed only type, name and roles count; one that is in both
// is set.
type Update struct {
	Set, Removed []*Resource
	// Versions are, by type URL, what responses say of a type from this state on in place of the hash of what the client has; an
	// empty one ends that. They are for tests whose author wants to know versions beforehand: a client that reconnects with one is
	// sent everything, for it does not tell which resources are meant.
	Versions map[string]string
}

// Progress says how far the clients of a role are.
type Progress struct {
	Role    uint8
	Seq     uint64 // every connected client of the role has answered for all it wants up to this state; silent ones are left out. It stays while none is connected
	Clients int    // connected clients of the role; one that has several streams counts with each
}

// Nack is a client's refusal of a response. The client keeps what it had.
type Nack struct {
	Role   uint8
	Client string   // node id
	Type   string   // type URL
	Names  []string // resources that are meant: those the text mentions, or all (at most 100) of the response where it mentions none
	Text   string   // the client's words, shortened to 4 KiB
}

// Refusal is a resource that clients of a role refuse now. It is over for a client that has taken newer content or has left.
type Refusal struct {
	Role    uint8
	Type    string // type URL
	Name    string
	Version string // that is refused; where clients refuse several, the newest
	Text    string // the words of the first client that refused it, shortened to 4 KiB
	Client  string // its node id
	Clients int    // how many refuse the name now, by streams
	// Deaf is how many of them have accepted nothing at all, of no type: what they say is of them, rather than of the resource.
	Deaf int
	// RolledBack says that all clients of the role are offered the content that was acknowledged before.
	RolledBack bool
}

// Node is a connected client.
type Node struct {
	ID string
	// Address is where the client takes requests, as it says in its metadata: an IP address and a port. Empty: it does not say,
	// or not so that it could be used.
	Address string
}

// Options of a Server. The zero value of each field means its default.
type Options struct {
	Logger hclog.Logger // default: none
	// Progress is called by one goroutine, one call at a time, whenever a role's sequence or number of clients moves. A
	// sequence that was reported is never taken back.
	Progress func(Progress)
	// Nacked is called for each refusal by the goroutine of the client that refused, so it must return soon and may run for
	// several clients at once. A client is made to wait when it refuses more often than ten times a second.
	Nacked func(Nack)
	// Refused is called by the goroutine of Progress whenever what is refused has changed, with all of it, sorted by role, type and
	// name; at most 1,000 are told, Stats counts the rest.
	Refused func([]Refusal)
	// Clients is called by the goroutine of Progress, and before it, whenever the set of a role's connected clients has changed,
	// with the set as it is then, sorted; a client that has several streams is in it once. A client counts from its first request,
	// even while there is no state to serve.
	Clients func(role uint8, nodes []Node)
	// Allow, if set, is asked at the first request of each stream and at each inspection, and ends it with its error's text as
	// PERMISSION_DENIED. It may run for several streams at once.
	Allow func(Caller) error
	// Trust, if set, is asked of each stream that is allowed, whether more is believed of its client than that it is there. One that is
	// not trusted gets what it names and no more: to ask for all of a type ends its stream, and the load that it reports is dropped.
	// Nil trusts everybody. It may run for several streams at once.
	Trust func(Caller) bool
	// Loads is called for each load report by the goroutine of the client that reports, so it must return soon and may run for
	// several clients at once.
	Loads func(LoadReport)
	// LoadInterval is how often clients are asked to report their load. Default 1 s.
	LoadInterval time.Duration
	// Wait bounds how long a client is waited for before the next phase goes ahead without its acknowledgement. Default 5 s.
	Wait time.Duration
	// Settle is how long a new stream has time to ask for all its types before what it must no longer have is taken away, and
	// before it gets listeners or routes without having asked for clusters (but by name, like gRPC, it gets them at once).
	// Default 100 ms.
	Settle time.Duration

	MaxStreams int // streams at once, of resources and of load reports; default 10,000
	MaxNames   int // names that a stream may ask for in one type; default 100,000
	// Memory is how many bytes the names that all clients ask for may take; default 256 MiB. Clients that are neither gateways nor
	// activators may take half of it.
	Memory int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Nacked == nil {
		o.Nacked = func(Nack) {}
	}
	if o.Refused == nil {
		o.Refused = func([]Refusal) {}
	}
	if o.Clients == nil {
		o.Clients = func(uint8, []Node) {}
	}
	if o.Loads == nil {
		o.Loads = func(LoadReport) {}
	}
	if o.LoadInterval <= 0 {
		o.LoadInterval = time.Second
	}
	if o.Wait <= 0 {
		o.Wait = 5 * time.Second
	}
	if o.Settle <= 0 {
		o.Settle = 100 * time.Millisecond
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = 10_000
	}
	if o.MaxNames <= 0 {
		o.MaxNames = 100_000
	}
	if o.Memory <= 0 {
		o.Memory = 256 << 20
	}
	return o
}
