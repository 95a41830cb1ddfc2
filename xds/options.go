package xds

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/xds/resource"
)

// Options of a Server. The zero value of each field means its default.
type Options struct {
	Logger hclog.Logger // default: none
	// Progress is called by one goroutine, one call at a time, whenever a role's sequence or number of clients changes. A sequence
	// that was reported is never taken back.
	Progress func(resource.Progress)
	// Nacked is called for each NACK by the goroutine of the client, so it must return soon and may run for several clients at once.
	// A client that NACKs more often than ten times a second is made to wait.
	Nacked func(resource.Nack)
	// Rejected is called by the goroutine of Progress whenever clients NACK something else than before, with everything that they NACK
	// now, sorted by role, type and name; at most 1,000. Stats counts them all.
	Rejected func([]resource.Rejection)
	// Clients is called by the goroutine of Progress, and before it, whenever the set of a role's connected clients has changed, with
	// the set as it is then, sorted. A client with several streams is in it once. A client counts from its first request, even while
	// there is no state to serve.
	Clients func(role uint8, nodes []resource.Node)
	// Allow, if set, is called at the first request of each stream and at each inspection. Its error ends the stream as
	// PERMISSION_DENIED with the error's text. It may run for several streams at once.
	Allow func(Caller) error
	// Trust, if set, is called for each stream that is allowed. A client that it does not trust gets only what it subscribes to by name:
	// its stream ends if it subscribes to everything of a type, and its load reports are dropped. Nil trusts everybody. It may run for
	// several streams at once.
	Trust func(Caller) bool
	// Loads is called for each load report by the goroutine of the client, so it must return soon and may run for several clients at
	// once.
	Loads func(resource.LoadReport)
	// LoadInterval is how often clients are asked to report their load. Default 1 s.
	LoadInterval time.Duration
	// Wait bounds how long the server waits for a client's answer before it goes ahead without it. Default 5 s.
	Wait time.Duration
	// Settle is how long a new stream has time to subscribe to all its types. Until then nothing that it should no longer have is
	// removed, and a stream that has not subscribed to clusters gets no listeners or routes, unless it asks for them by name, like gRPC.
	// Default 100 ms.
	Settle time.Duration

	MaxStreams int // streams at once, of resources and of load reports; default 10,000
	MaxNames   int // names that a stream may subscribe to in one type; default 100,000
	// Memory is how many bytes the names that all clients subscribe to may take; default 256 MiB. Clients that are neither gateways nor
	// activators may take half of it.
	Memory int
}

func (o Options) withDefaults() Options {
	o = o.withCallbacks()
	o.LoadInterval = positive(o.LoadInterval, time.Second)
	o.Wait = positive(o.Wait, 5*time.Second)
	o.Settle = positive(o.Settle, 100*time.Millisecond)
	o.MaxStreams = positive(o.MaxStreams, 10_000)
	o.MaxNames = positive(o.MaxNames, 100_000)
	o.Memory = positive(o.Memory, 256<<20)
	return o
}

// positive is a value, or the default if the value is not above 0.
func positive[T int | time.Duration](value, byDefault T) T {
	if value > 0 {
		return value
	}
	return byDefault
}

func (o Options) withCallbacks() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Progress == nil {
		o.Progress = func(resource.Progress) {}
	}
	if o.Nacked == nil {
		o.Nacked = func(resource.Nack) {}
	}
	if o.Rejected == nil {
		o.Rejected = func([]resource.Rejection) {}
	}
	if o.Clients == nil {
		o.Clients = func(uint8, []resource.Node) {}
	}
	if o.Loads == nil {
		o.Loads = func(resource.LoadReport) {}
	}
	return o
}
