package activator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/lost"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/client"
)

// Options of an Activator. XDS and one of Listen and Listener are required.
type Options struct {
	// XDS is the gRPC target of the control plane, such as 127.0.0.1:18000.
	XDS string
	// Dial are options of the connection to it, such as credentials; without them it is plain text.
	Dial []grpc.DialOption
	// NodeID tells this activator from others; Zone is its locality and may be empty.
	NodeID, Zone string
	// Listen is the address to listen on, host:port. Listener, if set, is used instead.
	Listen   string
	Listener net.Listener
	// Address is where gateways reach this activator, IP:port; empty means where it listens.
	Address string
	// Logger may be nil.
	Logger hclog.Logger
	// Drain bounds how long the end of Run may take; default 30 s. Quiet is for how long no request must have come before a
	// drain is over; default 1 s.
	Drain, Quiet time.Duration
	// Limits bound what clients may do. Zero fields have the defaults documented there.
	Limits Limits
}

// Limits bound what comes from outside.
type Limits struct {
	// Waiting is how many requests may wait for one revision; 0 means 10,000, as in Knative. WaitingTotal is how many may wait
	// for all of them together; 0 means 50,000.
	Waiting, WaitingTotal int
	// Revisions is how many revisions may be followed at a time; 0 means 10,000. Idle is how long one is followed without
	// requests; 0 means 5 minutes.
	Revisions int
	Idle      time.Duration
	// HeaderBytes is the size of a request's header, beyond which it gets 431; 0 means 64 KiB.
	HeaderBytes int
	// Headers is the number of header fields, beyond which a request gets 431; 0 means 500.
	Headers int
	// ReadHeader is how long a client may take to send a header; 0 means 10 s.
	ReadHeader time.Duration
	// IdleConnection is how long a connection without requests is kept; 0 means model.IdleServer, 3 minutes.
	IdleConnection time.Duration
	// Streams is how many requests may share an HTTP/2 connection; 0 means 1000.
	Streams int
}

func (l Limits) withDefaults() Limits {
	l.Waiting = cmp.Or(l.Waiting, 10_000)
	l.WaitingTotal = cmp.Or(l.WaitingTotal, 50_000)
	l.Revisions = cmp.Or(l.Revisions, 10_000)
	l.Idle = cmp.Or(l.Idle, 5*time.Minute)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Headers = cmp.Or(l.Headers, 500)
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.IdleConnection = cmp.Or(l.IdleConnection, model.IdleServer)
	l.Streams = cmp.Or(l.Streams, 1000)
	return l
}

// Activator holds requests for revisions without a free replica. Make it with New, then Run it.
type Activator struct {
	opts      Options
	logger    hclog.Logger
	client    *client.Client
	server    *http.Server
	http2     *http.Transport
	direct    *http.Transport // for applications without a queue-proxy: it does not ask them whether they are there
	revisions *revisions
	hosts     *hosts
	waiting   *population
	urge      chan struct{} // holds a token when load is to be reported at once
	buffers   replay.Buffers
	stats     counters
	lost      lost.Log

	listener  net.Listener
	address   string                    // as gateways and the control plane know it
	cut       context.CancelCauseFunc   // ends all requests in flight
	connected atomic.Bool               // the control plane has answered at some time
	heard     atomic.Pointer[time.Time] // since when it can be heard; nil while it cannot
	token     atomic.Pointer[string]    // that queue-proxies know activators by; nil until it has come
	draining  atomic.Bool
	inFlight  atomic.Int64
	arrived   atomic.Int64 // when the last request came, unix nanoseconds
}

// New makes an activator and listens; Run serves. The error says that it cannot listen.
func New(opts Options) (*Activator, error) {
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	opts.Drain, opts.Quiet = cmp.Or(opts.Drain, 30*time.Second), cmp.Or(opts.Quiet, time.Second)
	opts.Limits = opts.Limits.withDefaults()
	a := &Activator{
		opts: opts, logger: opts.Logger, http2: newHTTP2(true), direct: newHTTP2(false), urge: make(chan struct{}, 1),
		waiting: &population{max: int64(opts.Limits.WaitingTotal)}, listener: opts.Listener,
	}
	if a.listener == nil {
		l, err := net.Listen("tcp", opts.Listen)
		if err != nil {
			return nil, fmt.Errorf("listening for the activator's requests: %w", err)
		}
		a.listener = l
	}
	a.address = cmp.Or(opts.Address, a.listener.Addr().String())
	a.revisions = &revisions{
		byLabel: map[string]*revision{}, max: opts.Limits.Revisions,
		make:   func() *dispatcher { return newDispatcher(opts.Limits.Waiting, a.waiting, a.reportSoon) },
		follow: func(label string) { a.client.Subscribe(resource.EndpointType, label) },
		leave:  func(label string) { a.client.Unsubscribe(resource.EndpointType, label) },
	}
	a.client = client.New(client.Config{
		Target: opts.XDS, NodeID: opts.NodeID, Role: contract.Activator, Zone: opts.Zone, Address: a.address,
		Logger: opts.Logger.Named("xds"), Handler: a.handle, Lost: a.lose, Load: a.load, DialOptions: opts.Dial,
	})
	a.hosts = newHosts(opts.Limits.Revisions, a.heardSince, a.client.Subscribe, a.client.Unsubscribe)
	a.server = a.newServer()
	return a, nil
}

// Address is where gateways reach the activator.
func (a *Activator) Address() string { return a.address }

// greeting is a name that no revision's assignment has. Asking for it makes the activator known to the control plane before the
// first request, and the answer, that there is none, shows that the control plane is there.
const greeting = "activator"

// Run follows the control plane and serves until ctx ends; then it drains, for Options.Drain at the most, and returns nil.
func (a *Activator) Run(ctx context.Context) error {
	a.client.Subscribe(resource.EndpointType, greeting)
	a.client.Subscribe(resource.SecretType, contract.ActivatorSecret)
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer unfollow()
	failed := make(chan error, 2)
	tasks.Go(func() {
		if err := a.client.Run(following); following.Err() == nil {
			failed <- fmt.Errorf("following the control plane: %w", err)
		}
	})
	tasks.Go(func() { a.reportLoads(following) })
	tasks.Go(func() { a.sweepOften(following) })
	tasks.Go(func() {
		if err := a.server.Serve(framing.Listener{Listener: a.listener}); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serving: %w", err)
		}
	})
	defer a.Close()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Drain)
	defer cancel()
	if err := a.Shutdown(drain); err != nil {
		a.logger.Warn("requests were cut off at the end of the drain", "drain", a.opts.Drain.String())
	}
	return nil
}

// sweepOften forgets what is not in use.
func (a *Activator) sweepOften(ctx context.Context) {
	const every, unknown = 5 * time.Second, 10 * time.Second
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.revisions.sweep(a.opts.Limits.Idle, min(unknown, a.opts.Limits.Idle))
			a.hosts.sweep(a.opts.Limits.Idle)
		}
	}
}

// handle applies a response of the control plane. Good resources take effect even when others of the same response do not;
// the error names all that were refused.
func (a *Activator) handle(u client.Update) error {
	a.connected.Store(true)
	if a.heard.Load() == nil {
		now := time.Now()
		a.heard.Store(&now)
	}
	switch u.Type {
	case resource.EndpointType:
		return a.takeAssignments(u)
	case resource.ListenerType:
		for _, name := range u.Removed {
			a.hosts.remove(name)
		}
		return takeEach(u, "listener", a.hosts.setListener)
	case resource.SecretType:
		return takeEach(u, "secret", a.takeToken)
	case resource.RouteType:
		return takeEach(u, "route configuration", a.hosts.setRoutes)
	}
	return nil
}

// lose learns that the control plane cannot be heard. What exists stays in force; what did not exist may have appeared meanwhile,
// for others hear of it.
func (a *Activator) lose() {
	a.heard.Store(nil)
	for r := range a.revisions.all() {
		r.doubt()
	}
}

// heardSince is since when the control plane can be heard, zero while it cannot.
func (a *Activator) heardSince() time.Time {
	if since := a.heard.Load(); since != nil {
		return *since
	}
	return time.Time{}
}

func takeEach(u client.Update, kind string, take func(name string, body []byte) error) error {
	var errs []error
	for _, r := range u.Set {
		if err := take(r.Name, r.Body); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, r.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (a *Activator) takeAssignments(u client.Update) error {
	var errs []error
	for _, r := range u.Set {
		revision := a.revisions.find(r.Name)
		if revision == nil {
			continue // let go of meanwhile
		}
		assignment, err := decodeAssignment(r.Name, r.Body)
		if err != nil {
			errs = append(errs, fmt.Errorf("endpoint assignment %q: %w", r.Name, err))
			continue
		}
		revision.apply(assignment, assignment.index(a.address))
	}
	for _, name := range u.Removed {
		if revision := a.revisions.find(name); revision != nil {
			revision.remove()
		}
	}
	return errors.Join(errs...)
}
