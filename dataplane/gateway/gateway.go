package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/gateway/listener"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/dataplane/tracing/otlp"
	"sluice.dev/sluice/xds/client"
)

// Options of a Gateway.
type Options struct {
	// XDS is the gRPC target of the control plane, such as 127.0.0.1:18000.
	XDS string
	// Dial are options of the connection to it, such as credentials; without them it is plain text.
	Dial []grpc.DialOption
	// NodeID is the node id of this gateway; Zone is its locality and may be empty.
	NodeID, Zone string
	// Logger may be nil.
	Logger hclog.Logger
	// Drain is how long requests may take to finish when their listener is removed or Run ends. Default 10 s.
	Drain time.Duration
	// Listening, if set, is called when a listener's address has been bound. addr has the real port where the configured one is 0.
	Listening func(name, addr string)
	// Failed, if set, is called when a listener's address could not be bound. The control plane gets a NACK too.
	Failed func(name, addr string, err error)
}

const (
	defaultDrain = 10 * time.Second
	// lameDuck is how long idle connections stay open at the end, so that clients learn that they must open new ones.
	lameDuck = 500 * time.Millisecond
	// warmUp is how long a new listener waits for its routes before it serves without them, as in Envoy. It never serves without its
	// certificates.
	warmUp = 15 * time.Second
)

// Gateway serves what a control plane tells it to. Make it with New.
type Gateway struct {
	// Set once.
	options Options
	logger  hclog.Logger
	client  *client.Client
	proxy   *proxy.Proxy
	started time.Time
	sockets *listener.Sockets
	tickets *tls.Config // encrypts the session tickets of all listeners; crypto/tls rotates its keys

	ending atomic.Bool

	// Guarded by mu. The handler of updates writes, the admin pages and the load report read, and requests never take it.
	mu        sync.Mutex
	listeners map[string]*activeListener
	routes    map[string]*routeSlot
	scopes    scopes
	secrets   map[string]*secretSlot
	endpoints map[string]*proxy.Cluster   // by the name of the endpoint assignment
	stats     map[string]*prefixStats     // by stat_prefix
	updates   map[string]*typeStats       // by type URL
	answered  bool                        // a response with listeners has come
	refused   map[string]bool             // listeners without a good version
	leaving   map[*proxy.Cluster]struct{} // removed clusters whose last requests still run
}

// typeStats count the updates of one type of resource.
type typeStats struct{ ok, rejected uint64 }

// New makes a gateway; Run starts it.
func New(options Options) *Gateway {
	if options.Logger == nil {
		options.Logger = hclog.NewNullLogger()
	}
	if options.Drain <= 0 {
		options.Drain = defaultDrain
	}
	g := &Gateway{
		options: options, logger: options.Logger, started: time.Now(), proxy: proxy.New(options.Logger),
		sockets: listener.NewSockets(options.Logger, options.Drain),
		tickets: &tls.Config{MinVersion: tls.VersionTLS12}, secrets: map[string]*secretSlot{},
		listeners: map[string]*activeListener{}, routes: map[string]*routeSlot{}, endpoints: map[string]*proxy.Cluster{},
		stats: map[string]*prefixStats{}, updates: map[string]*typeStats{}, refused: map[string]bool{},
		leaving: map[*proxy.Cluster]struct{}{}, scopes: scopes{tables: &scopeTables{}},
	}
	g.proxy.Tracer = tracing.New(tracing.Options{
		Service: contract.Gateway, Instance: options.NodeID, Exporter: otlp.New, Logger: options.Logger.Named("tracing"),
	})
	g.client = client.New(client.Config{
		Target: options.XDS, NodeID: options.NodeID, Role: contract.Gateway, Zone: options.Zone,
		Logger: options.Logger.Named("xds"), Handler: g.handle, Load: g.load, DialOptions: options.Dial,
	})
	return g
}

// Run follows the control plane, reports load to it, and serves, until ctx ends. Then it drains, for Options.Drain at most, and returns
// nil.
func (g *Gateway) Run(ctx context.Context) error {
	g.client.Subscribe(resource.ClusterType, client.Wildcard)
	g.client.Subscribe(resource.ListenerType, client.Wildcard)
	err := g.client.Run(ctx)
	g.ending.Store(true)
	g.drain()
	if ctx.Err() == nil {
		return fmt.Errorf("following the control plane: %w", err)
	}
	return nil
}

// drain retires all listeners at once and waits for them.
func (g *Gateway) drain() {
	g.mu.Lock()
	for _, l := range g.listeners {
		for _, s := range l.sockets() {
			g.sockets.Retire(s)
		}
		l.stopWarming()
	}
	g.mu.Unlock()
	g.sockets.Wait(lameDuck)
	g.proxy.Tracer.Close(context.Background())
	g.proxy.Close()
}

// ready is whether the gateway serves all listeners that the control plane has named.
func (g *Gateway) ready() bool {
	if g.ending.Load() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.answered || len(g.refused) > 0 {
		return false
	}
	for _, l := range g.listeners {
		if l.serving == nil {
			return false
		}
	}
	return true
}
