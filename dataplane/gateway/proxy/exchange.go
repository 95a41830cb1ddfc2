package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/framing"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/dataplane/replay"
	"sluice.dev/sluice/dataplane/tracing"
)

// exchange is one request and its response. It is also the request's context, so that the callbacks of the ReverseProxy and the dialer
// find it without an allocation.
type exchange struct {
	// Set before the request is forwarded.
	context.Context // ends with the client, the server or the clock
	client          context.Context
	writer          http.ResponseWriter
	conn            *framing.Conn // of the client; nil for HTTP/2
	proxy           *Proxy
	manager         *Manager
	view            settings.Request
	start           time.Time
	table           *settings.RouteTable
	vh              *settings.VirtualHost
	route           *settings.Route
	target          *settings.WeightedCluster
	cluster         *Cluster
	config          *settings.Cluster
	upgrade         string   // the protocol that the client wants, in lower case; empty for none
	stream          bool     // the request counts as a stream: it is an upgrade or a gRPC call
	trailers        []string // the names of those that the client announced

	// Only by the handler's goroutine, which runs the ReverseProxy and RoundTrip.
	endpoints *Assignment
	host      *Host         // of the current attempt; nil when it has failed
	counted   *zoneLoad     // the load that the request counts in; nil for none
	began     time.Duration // when it began to count there, since the proxy was made
	interim   interimWriter
	response  responseBody
	status    int           // of the response to the client; 0 until there is one
	exhausted bool          // the retry policy allows no more attempts
	span      *tracing.Span // nil for none
	flags     string        // of the gateway's own reply
	whole     bool          // the client got the whole response

	// By the transport's goroutines too; these types guard themselves.
	clock   streamClock
	source  clientBody
	request replay.Body
	carrier atomic.Pointer[upstreamConn] // of the current attempt
	lost    atomic.Bool                  // the connection was lost before the client had sent all of the request
}

type exchangeKey struct{}

// Value finds the exchange itself under exchangeKey.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// responseBody is a response's body. Each read resets the idle limit of the clock. Before it waits for more, it flushes what it has read
// so far to the client; a body that comes in one piece costs no flush.
type responseBody struct {
	io.ReadCloser
	x       *exchange
	flusher http.Flusher
	begun   bool
}

func (b *responseBody) Read(p []byte) (int, error) {
	if b.begun && b.flusher != nil {
		b.flusher.Flush()
	}
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	b.x.clock.touch()
	return n, err
}

// Close ends the request too.
func (b *responseBody) Close() error {
	b.x.endUpload()
	return b.ReadCloser.Close()
}

// upgradedBody is the same for a connection that has changed its protocol.
type upgradedBody struct {
	io.ReadWriteCloser
	x *exchange
}

func (b *upgradedBody) Read(p []byte) (int, error) {
	n, err := b.ReadWriteCloser.Read(p)
	b.x.clock.touch()
	return n, err
}

func (b *upgradedBody) Write(p []byte) (int, error) {
	b.x.clock.touch()
	return b.ReadWriteCloser.Write(p)
}

// serve routes the request and responds to it.
func (x *exchange) serve(w http.ResponseWriter) {
	r := x.view.Request
	status, reason := x.manager.admit(&x.view)
	if x.conn != nil {
		if refusal := x.conn.Refusal(); refusal != "" {
			w.Header().Set("Connection", "close")
			status, reason = http.StatusBadRequest, refusal
		}
	}
	if status != 0 {
		x.reply(w, localReply{status: status, flags: "DPE", body: reason})
		return
	}
	x.manager.setScheme(r)
	host := x.view.Domain
	if x.table = x.manager.routes(host); x.table != nil {
		if x.table.IgnorePort {
			host = settings.Hostname(host)
		}
		x.vh = x.table.Hosts.Find(host)
	}
	if x.vh != nil {
		x.route = x.vh.Find(&x.view)
	}
	switch {
	case x.route == nil:
		x.reply(w, localReply{status: http.StatusNotFound, flags: "NR"})
	case x.route.Redirect != nil:
		w.Header().Set("Location", x.route.Redirect.Location(&x.view, x.route.Path.Length))
		x.reply(w, localReply{status: x.route.Redirect.Status})
	case x.route.Direct != nil:
		x.reply(w, localReply{status: x.route.Direct.Status, body: string(x.route.Direct.Body)})
	case !x.admitUpgrade():
		x.reply(w, localReply{status: http.StatusForbidden, flags: "NR", body: "upgrade is not enabled"})
	default:
		x.forward(w, r)
	}
}

// admitUpgrade fills in the protocol that the client wants to upgrade to, and reports whether the configuration allows it.
func (x *exchange) admitUpgrade() bool {
	wanted := upgradeOf(x.view.Header)
	if wanted == "" {
		return true
	}
	if wanted == "h2c" {
		// Clients offer HTTP/2 this way; a server may stay with HTTP/1.1.
		delete(x.view.Header, "Upgrade")
		delete(x.view.Header, "Http2-Settings")
		return true
	}
	x.upgrade = wanted
	if enabled, ok := x.route.Forward.Upgrades[wanted]; ok {
		return enabled
	}
	return x.manager.Upgrades[wanted]
}

// upgradeOf is the protocol that a request wants to upgrade to, in lower case; empty for none.
func upgradeOf(h http.Header) string {
	if len(h["Upgrade"]) == 0 {
		return ""
	}
	for _, line := range h["Connection"] {
		for _, token := range strings.Split(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return strings.ToLower(h["Upgrade"][0])
			}
		}
	}
	return ""
}

// forward sends the request to an endpoint of the route's cluster.
func (x *exchange) forward(w http.ResponseWriter, r *http.Request) {
	f := x.route.Forward
	x.target = f.Pick(rand.Uint32N)
	if x.cluster = x.proxy.Clusters.Get(x.target.Name); x.cluster == nil {
		x.reply(w, localReply{status: f.NotFound, flags: "NC"})
		return
	}
	x.config, x.endpoints = x.cluster.Config.Load(), x.cluster.Endpoints.Load()
	x.stream = x.upgrade != "" || settings.IsGRPC(r)
	stats := &x.cluster.Stats
	stats.RqActive.Add(1)
	stats.RqTotal.Add(1)
	defer x.finish()
	x.clock.limit(f, x.manager.Manager)
	x.clock.run(r.ContentLength == 0)
	x.interim = interimWriter{ResponseWriter: w, x: x}
	in := r.WithContext(x)
	if r.ContentLength != 0 {
		x.source.Reader, x.source.x = r.Body, x
		in.Body = &x.source
	}
	x.proxy.reverse.ServeHTTP(&x.interim, in)
}

// maxInterim bounds the responses before the final one (1xx).
const maxInterim = 1000

var errInterimResponses = errors.New("too many interim responses")

// interimWriter passes up to maxInterim interim responses on to clients of HTTP/1.1 and newer. It drops the upstream's 100 Continue: the
// server sends its own when the transport begins to read the body, and the client would get two.
type interimWriter struct {
	http.ResponseWriter
	x     *exchange
	count int
}

// WriteHeader writes or drops a response.
func (w *interimWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.count++; w.count > maxInterim {
		w.x.clock.cancel(errInterimResponses)
		return
	}
	if status != http.StatusContinue && w.x.view.ProtoAtLeast(1, 1) {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Unwrap is for http.ResponseController.
func (w *interimWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish counts the exchange in its cluster.
func (x *exchange) finish() {
	x.clock.stop()
	x.request.Release()
	now := time.Now()
	if x.host != nil {
		x.host.Active.Add(-1)
	}
	if x.counted != nil {
		x.counted.end(now.Sub(x.proxy.made), x.stream, x.status >= http.StatusInternalServerError)
	}
	stats := &x.cluster.Stats
	stats.RqActive.Add(-1)
	stats.RqXX.add(x.status)
	stats.RqTime.observe(now.Sub(x.start))
}

// changeHeaders makes the header changes of all levels: weighted cluster, route, virtual host, route configuration; in reverse order
// where the configuration says that the most specific one wins.
func (x *exchange) changeHeaders(h http.Header, of func(*settings.LevelChanges) *settings.HeaderChanges) {
	if x.route == nil {
		return
	}
	levels := [...]*settings.LevelChanges{nil, &x.route.Changes, &x.vh.Changes, &x.table.Changes}
	if x.target != nil {
		levels[0] = &x.target.Changes
	}
	for i := range levels {
		l := levels[i]
		if x.table.MostSpecificWins {
			l = levels[len(levels)-1-i]
		}
		if l != nil {
			of(l).Apply(h)
		}
	}
}

func requestChanges(c *settings.LevelChanges) *settings.HeaderChanges  { return c.Request }
func responseChanges(c *settings.LevelChanges) *settings.HeaderChanges { return c.Response }
