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
	"sluice.dev/sluice/xds/client"
)

// Options of a Gateway.
type Options struct {
	// XDS is the gRPC target of the control plane, such as 127.0.0.1:18000.
	XDS string
	// Dial are options of the connection to it, such as credentials; without them it is plain text.
	Dial []grpc.DialOption
	// NodeID tells this gateway from others; Zone is its locality and may be empty.
	NodeID, Zone string
	// Logger may be nil.
	Logger hclog.Logger
	// Drain is how long requests that are being served may take to finish when a listener goes away or Run ends. Default 10 s.
	Drain time.Duration
	// Listening, if set, is called when a listener's address has been bound; addr is the address it really has.
	Listening func(name, addr string)
	// Failed, if set, is called when a listener's address could not be bound. The control plane is told as well.
	Failed func(name, addr string, err error)
}

const (
	defaultDrain = 10 * time.Second
	// lameDuck is how long connections are left open at the end for clients to notice that they are to be closed.
	lameDuck = 500 * time.Millisecond
	// warmUp is how long a new listener waits for its routes before it serves without them, as in Envoy. It waits for its
	// certificates without an end, since it cannot.
	warmUp = 15 * time.Second
)

// Gateway serves what a control plane tells it to. Make it with New.
type Gateway struct {
	options Options
	logger  hclog.Logger
	client  *client.Client
	proxy   *proxy
	started time.Time
	tickets *tls.Config    // its keys encrypt TLS sessions; it replaces them itself
	tasks   sync.WaitGroup // everything that must have ended when Run returns
	hurry   context.Context
	hurryUp context.CancelFunc

	// mu guards what the handler of updates keeps: it writes, and the admin pages read. Requests never take it.
	mu        sync.Mutex
	listeners map[string]*activeListener
	routes    map[string]*routeSlot
	scopes    scopes
	secrets   map[string]*secretSlot
	endpoints map[string]*cluster // by the name of the endpoint assignment
	stats     map[string]*managerStats
	updates   map[string]*typeStats // by type URL
	answered  bool                  // listeners have been received
	refused   map[string]bool       // listeners that have no good version
	leaving   map[*cluster]struct{} // no longer known, but for requests that still run
	ending    atomic.Bool
}

// typeStats counts the updates of one type of resource.
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
		options: options, logger: options.Logger, started: time.Now(), proxy: newProxy(options.Logger),
		tickets: &tls.Config{MinVersion: tls.VersionTLS12}, secrets: map[string]*secretSlot{},
		listeners: map[string]*activeListener{}, routes: map[string]*routeSlot{}, endpoints: map[string]*cluster{},
		stats: map[string]*managerStats{}, updates: map[string]*typeStats{}, refused: map[string]bool{},
		leaving: map[*cluster]struct{}{}, scopes: scopes{tables: &scopeTables{}},
	}
	g.hurry, g.hurryUp = context.WithCancel(context.Background())
	g.client = client.New(client.Config{
		Target: options.XDS, NodeID: options.NodeID, Role: contract.Gateway, Zone: options.Zone,
		Logger: options.Logger.Named("xds"), Handler: g.handle, Load: g.load, DialOptions: options.Dial,
	})
	return g
}

// Run follows the control plane, tells it what load there is, and serves until ctx ends; then it drains, for Options.Drain at the most, and returns nil.
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

// drain ends all listeners at once and waits for them.
func (g *Gateway) drain() {
	g.mu.Lock()
	for _, l := range g.listeners {
		for _, s := range l.sockets() {
			g.retire(s)
		}
		l.stopWarming()
	}
	g.mu.Unlock()
	enough := time.AfterFunc(lameDuck, g.hurryUp)
	defer enough.Stop()
	g.tasks.Wait()
	g.hurryUp()
	g.proxy.upstreams.close()
}

// ready tells whether all listeners that the control plane has named are being served.
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
