package activator

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/activator/dispatch"
	"sluice.dev/sluice/dataplane/activator/upstream"
	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/lost"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/dataplane/tracing"
	"sluice.dev/sluice/dataplane/tracing/otlp"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/xds/client"
)

// Options of an Activator. XDS and one of Listen and Listener are required.
type Options struct {
	// XDS is the gRPC target of the control plane, such as 127.0.0.1:18000.
	XDS string
	// Dial are options of the connection to it, such as credentials; without them it is plain text.
	Dial []grpc.DialOption
	// NodeID is unique among activators; Zone is this one's locality and may be empty.
	NodeID, Zone string
	// Listen is the address to listen on, host:port. Listener, if set, is used instead.
	Listen   string
	Listener net.Listener
	// Address is where gateways reach this activator, IP:port; empty means where it listens.
	Address string
	// Logger may be nil.
	Logger hclog.Logger
	// Drain bounds how long the end of Run may take; default 30 s. Quiet is for how long no request must arrive before a drain is over;
	// default 1 s.
	Drain, Quiet time.Duration
	// Limits bound what clients may do. Zero fields have the defaults documented there.
	Limits Limits
	// Tasks answers requests for revisions whose requests are tasks that ask to be answered later (Prefer: respond-async), and those below
	// contract.TaskPath. Without it such a revision's get 501.
	Tasks func(w http.ResponseWriter, r *http.Request, namespace, revision string)
	// Backlog is how many tasks of each revision, namespace/name, wait elsewhere; nil for none. They count as waiting.
	Backlog func() map[string]int
}

// Limits bound what clients may do.
type Limits struct {
	// Waiting is how many requests may wait for one revision; 0 means 10,000, as in Knative. WaitingTotal is how many may wait for all
	// revisions together; 0 means 50,000.
	Waiting, WaitingTotal int
	// Revisions is how many revisions may be subscribed to at a time; 0 means 10,000. Idle is how long a revision without requests stays
	// subscribed; 0 means 5 minutes.
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
	// Set once by New.
	opts      Options
	logger    hclog.Logger
	client    *client.Client
	server    *http.Server
	http2     *http.Transport
	direct    *http.Transport // for applications without a queue-proxy: it does not ping them
	revisions *revisions
	hosts     *hosts
	pending   *dispatch.Pending
	reportNow chan struct{} // holds a token when load is to be reported at once
	taskWaits chan struct{} // holds a token when a task has begun to wait
	buffers   replay.Buffers
	metrics   *metrics
	lost      *lost.Log
	tracer    *tracing.Tracer

	listener net.Listener
	address  string                  // for gateways and the control plane
	runner   string                  // what contract.RunnerHeader has in the requests of the runner of tasks in this process
	cut      context.CancelCauseFunc // ends all requests in flight

	answered  atomic.Bool                     // the control plane has answered once
	connected atomic.Pointer[time.Time]       // since when the control plane is connected; nil while it is not
	signer    atomic.Pointer[contract.Signer] // by which queue-proxies recognise activators; nil until its token has arrived
	draining  atomic.Bool
	inFlight  atomic.Int64
	arrived   atomic.Int64 // when the last request arrived, in Unix nanoseconds
}

// New makes an activator and listens; Run serves. The error says that it cannot listen.
func New(opts Options) (*Activator, error) {
	if opts.Logger == nil {
		opts.Logger = hclog.NewNullLogger()
	}
	opts.Drain, opts.Quiet = cmp.Or(opts.Drain, 30*time.Second), cmp.Or(opts.Quiet, time.Second)
	opts.Limits = opts.Limits.withDefaults()
	a := &Activator{
		opts: opts, logger: opts.Logger, http2: upstream.NewHTTP2(true), direct: upstream.NewHTTP2(false),
		reportNow: make(chan struct{}, 1), taskWaits: make(chan struct{}, 1), lost: lost.NewLog(), metrics: newMetrics(),
		pending: dispatch.NewPending(opts.Limits.WaitingTotal), listener: opts.Listener,
	}
	if a.listener == nil {
		l, err := net.Listen("tcp", opts.Listen)
		if err != nil {
			return nil, fmt.Errorf("listening for the activator's requests: %w", err)
		}
		a.listener = l
	}
	a.address, a.runner = cmp.Or(opts.Address, a.listener.Addr().String()), rand.Text()
	a.revisions = &revisions{
		byLabel: map[string]*revision{}, max: opts.Limits.Revisions,
		make: func() *dispatch.Dispatcher {
			d := dispatch.New(opts.Limits.Waiting, a.pending, a.reportSoon)
			d.OnTask(a.reportTasksSoon)
			return d
		},
		subscribe:   func(label string) { a.client.Subscribe(resource.EndpointType, label) },
		unsubscribe: func(label string) { a.client.Unsubscribe(resource.EndpointType, label) },
	}
	a.client = client.New(client.Config{
		Target: opts.XDS, NodeID: opts.NodeID, Role: contract.Activator, Zone: opts.Zone, Address: a.address,
		Logger: opts.Logger.Named("xds"), Handler: a.handle, Lost: a.disconnected, Load: a.load, DialOptions: opts.Dial,
	})
	a.tracer = tracing.New(tracing.Options{
		Service: contract.Activator, Instance: opts.NodeID, Exporter: otlp.New, Logger: opts.Logger.Named("tracing"),
	})
	a.hosts = newHosts(opts.Limits.Revisions, a.connectedSince, a.client.Subscribe, a.client.Unsubscribe)
	a.server = a.newServer()
	return a, nil
}

// Address is where gateways reach the activator.
func (a *Activator) Address() string { return a.address }

// unassigned is a name that no revision's assignment has. The subscription to it introduces the activator to the control plane before the
// first request, and the answer, that there is no such resource, shows that the control plane is connected.
const unassigned = "activator"

// Run connects to the control plane and serves until ctx ends. It then drains for Options.Drain at most, and returns nil.
func (a *Activator) Run(ctx context.Context) error {
	a.client.Subscribe(resource.EndpointType, unassigned)
	a.client.Subscribe(resource.SecretType, contract.ActivatorSecret)
	a.client.Subscribe(resource.ExtensionConfigType, contract.TracingExtension)
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
	defer a.tracer.Close(context.WithoutCancel(ctx))
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

// sweepOften unsubscribes from what is not in use.
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

// handle applies a response of the control plane. Valid resources take effect even when others of the same response are rejected; the
// error, which becomes the NACK, names all of those.
func (a *Activator) handle(u client.Update) error {
	a.answered.Store(true)
	if a.connected.Load() == nil {
		now := time.Now()
		a.connected.Store(&now)
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
	case resource.ExtensionConfigType:
		if slices.Contains(u.Removed, contract.TracingExtension) {
			a.tracer.Configure(model.Tracing{})
		}
		return takeEach(u, "extension", a.takeTracing)
	case resource.RouteType:
		return takeEach(u, "route configuration", a.hosts.setRoutes)
	}
	return nil
}

// disconnected is called when the connection to the control plane is lost. Known resources stay in force. A revision that did not exist may
// appear meanwhile, of which others learn.
func (a *Activator) disconnected() {
	a.connected.Store(nil)
	for r := range a.revisions.all() {
		r.Disconnected()
	}
}

// connectedSince is since when the control plane is connected, zero while it is not.
func (a *Activator) connectedSince() time.Time {
	if since := a.connected.Load(); since != nil {
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
			continue // unsubscribed meanwhile
		}
		assignment, err := decodeAssignment(r.Name, r.Body)
		if err != nil {
			errs = append(errs, fmt.Errorf("endpoint assignment %q: %w", r.Name, err))
			continue
		}
		assignment.HandOver = assignment.Owner != "" && assignment.Owner != a.address
		revision.Apply(assignment, slices.Index(assignment.Activators, a.address))
	}
	for _, name := range u.Removed {
		if revision := a.revisions.find(name); revision != nil {
			revision.Remove()
		}
	}
	return errors.Join(errs...)
}
