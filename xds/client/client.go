// Package client is a small incremental (delta) xDS client over one aggregated stream. The built-in data plane follows the control
// plane with it. It keeps names and versions, reconnects by itself, and passes each response to one handler. Over a second stream
// (LRS) it reports load. It must not know what the resources mean, and keeps no bodies.
package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Wildcard as a name subscribes to all resources of a type.
const Wildcard = "*"

// maxResponse is the largest response that the client takes, in bytes; gRPC's own default is 4 MiB.
const maxResponse = 256 << 20

// window is how many bytes the control plane may send ahead, on one stream and in all.
const window = 16 << 20

// Config of a Client.
type Config struct {
	Target  string // gRPC target of the control plane, such as 127.0.0.1:18000
	NodeID  string
	Role    string // node.cluster: gateway, activator, or anything else for mesh
	Zone    string // locality zone; may be empty
	Address string // where this client takes requests, IP:port; the control plane passes it on to other clients; may be empty
	Logger  hclog.Logger
	Handler Handler
	// Lost is called when the stream to the control plane has ended: from then until the next call of Handler, resources may have
	// changed unnoticed. It is called by the goroutine that calls Handler, and may be nil.
	Lost func()
	// Load is called whenever a report is due, by one goroutine, and returns the load since the last call. If it is nil, the client
	// reports no load.
	Load        func() []ClusterLoad
	DialOptions []grpc.DialOption // added to the defaults, the last one wins; default credentials are insecure (loopback)
}

// Handler takes the content of one response. It is called by one goroutine, one call at a time, and may call Subscribe and
// Unsubscribe. A nil error acknowledges the response. Any other NACKs it with the error's text, though the handler may have applied
// the good resources of it.
type Handler func(Update) error

// Update is the content of one response; it may be empty.
type Update struct {
	Type    string // type URL
	Set     []Resource
	Removed []string // names that do not exist (any more)
}

// Resource is one resource as the control plane sent it.
type Resource struct {
	Name    string
	Version string
	Body    []byte // the value of the Any
}

// Client follows a control plane.
type Client struct {
	// Set once.
	config Config
	logger hclog.Logger

	mu sync.Mutex
	// Guarded by mu.
	types   map[string]*subscription
	retired bool

	// Each holds one token:
	wake   chan struct{} // when a subscription changed
	leave  chan struct{} // when the present stream is to be replaced by one of a client that has retired
	report chan struct{} // when load is to be reported at once
}

// New makes a client; Run starts it.
func New(config Config) *Client {
	if config.Logger == nil {
		config.Logger = hclog.NewNullLogger()
	}
	if config.Handler == nil {
		config.Handler = func(Update) error { return nil }
	}
	return &Client{
		config: config,
		logger: config.Logger,
		types:  map[string]*subscription{},
		wake:   make(chan struct{}, 1),
		leave:  make(chan struct{}, 1),
		report: make(chan struct{}, 1),
	}
}

// Subscribe subscribes to resources by name, or to all with Wildcard. It may be called at any time. Nothing happens for a name that
// is already subscribed. A name that was unsubscribed in between is subscribed again, and its resource comes again.
func (c *Client) Subscribe(typeURL string, names ...string) {
	c.change(typeURL, names, (*subscription).add)
}

// Unsubscribe ends the subscription to names. The handler is not called for that. The client drops resources of these names that are
// still on their way.
func (c *Client) Unsubscribe(typeURL string, names ...string) {
	c.change(typeURL, names, (*subscription).remove)
}

func (c *Client) change(typeURL string, names []string, apply func(*subscription, string)) {
	c.mu.Lock()
	sub := c.types[typeURL]
	if sub == nil {
		sub = newSubscription()
		c.types[typeURL] = sub
	}
	for _, name := range names {
		apply(sub, name)
	}
	c.mu.Unlock()
	put(c.wake)
}

// put adds a token if there is none.
func put(tokens chan<- struct{}) {
	select {
	case tokens <- struct{}{}:
	default:
	}
}

// Retire has the control plane stop passing on this client's address, while the client goes on following it. It replaces the present
// stream at once by one that gives no address, and keeps names and versions as when reconnecting.
func (c *Client) Retire() {
	c.mu.Lock()
	c.retired = true
	c.mu.Unlock()
	put(c.leave)
}

// Run connects, follows the control plane and reports load until ctx ends, whose error it returns. It reconnects with exponential
// back-off and jitter, so that the clients of a restarted control plane do not come back all at once. Call it once.
func (c *Client) Run(ctx context.Context) error {
	conn, err := grpc.NewClient(c.config.Target, c.dialOptions()...)
	if err != nil {
		return fmt.Errorf("making an xDS client of %q: %w", c.config.Target, err)
	}
	defer func() { _ = conn.Close() }()
	var reporting sync.WaitGroup
	defer reporting.Wait()
	if c.config.Load != nil {
		r := &reporter{client: c, conn: conn, last: time.Now(), pace: rate.NewLimiter(maxReports, reportBurst)}
		reporting.Go(func() { _ = c.keep(ctx, "load", r.follow) })
	}
	return c.keep(ctx, "xDS", func(ctx context.Context) (bool, error) {
		answered, err := c.follow(ctx, conn)
		if answered && c.config.Lost != nil {
			c.config.Lost()
		}
		return answered, err
	})
}

// errRetired ends a stream that another replaces at once.
var errRetired = errors.New("the client has retired")

// keep runs a stream again and again until ctx ends. follow reports whether the server answered at all.
func (c *Client) keep(ctx context.Context, kind string, follow func(context.Context) (answered bool, err error)) error {
	pause := newBackOff()
	lastErr := ""
	for {
		answered, err := follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answered {
			pause.Reset()
			lastErr = ""
		}
		if errors.Is(err, errRetired) {
			continue
		}
		if text := errText(err); text != lastErr {
			c.logger.Warn(kind+" stream ended, trying again", "target", c.config.Target, "error", text)
			lastErr = text
		}
		if !sleep(ctx, pause.NextBackOff()) {
			return ctx.Err()
		}
	}
}

func (c *Client) dialOptions() []grpc.DialOption {
	return append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
		// One response may have several MB. Without a window of that size it would wait for a round trip every 64 KB.
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minPause, Multiplier: pauseFactor, Jitter: 0.2, MaxDelay: maxPause},
			MinConnectTimeout: 5 * time.Second,
		}),
	}, c.config.DialOptions...)
}

func errText(err error) string {
	if err == nil {
		err = errors.New("the server ended the stream")
	}
	return err.Error()
}

// maxNackText bounds the error text of a NACK, in bytes.
const maxNackText = 4 << 10

// nackText is the error text of a NACK.
func nackText(err error) string {
	text := err.Error()
	if len(text) > maxNackText {
		text = strings.ToValidUTF8(text[:maxNackText], "") + "…"
	}
	return text
}
