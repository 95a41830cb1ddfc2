package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/model"
)

// Tuning of the upstream connections.
const (
	idlePerEndpoint     = 1024
	upstreamBufferBytes = 16 << 10
	// maxResponseHeaderBytes bounds the head of a response, with all interim ones before it.
	maxResponseHeaderBytes = 256 << 10
)

// upstreams are the connections to all endpoints of all clusters: one transport for each protocol, and for HTTP/2 one that asks
// endpoints whether they are there.
type upstreams struct {
	http1, h2c, asking *http.Transport
}

func newUpstreams() *upstreams {
	u := &upstreams{http1: newTransport(false), h2c: newTransport(true), asking: newTransport(true)}
	u.asking.HTTP2 = &http.HTTP2Config{SendPingTimeout: model.PingInterval, PingTimeout: model.PingTimeout}
	return u
}

func newTransport(h2 bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	return &http.Transport{
		DialContext:        dialUpstream,
		Protocols:          protocols,
		DisableCompression: true,
		// As Envoy is told.
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
		MaxIdleConnsPerHost:    idlePerEndpoint,
		IdleConnTimeout:        model.IdleClient,
		ReadBufferSize:         upstreamBufferBytes,
		WriteBufferSize:        upstreamBufferBytes,
		// The upstream says whether it wants the body; after this long it is sent all the same.
		ExpectContinueTimeout: time.Second,
	}
}

// keepalive has connections end whose endpoint's machine has vanished.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: model.KeepaliveIdle, Interval: model.KeepaliveInterval, Count: model.KeepaliveProbes}

func (u *upstreams) close() {
	u.http1.CloseIdleConnections()
	u.h2c.CloseIdleConnections()
	u.asking.CloseIdleConnections()
}

// transport is the one for an exchange. A protocol upgrade is always asked for in HTTP/1.1: over HTTP/2 there is none
// without extended CONNECT, which the queue-proxies do not speak.
func (u *upstreams) transport(c *settings.Cluster, in *http.Request, upgrade bool) *http.Transport {
	if upgrade || c.Protocol == settings.HTTP1 || c.Protocol == settings.SameAsDownstream && in.ProtoMajor != 2 {
		return u.http1
	}
	if c.Pings {
		return u.asking
	}
	return u.h2c
}

// dialUpstream connects on behalf of the exchange in the context: with the connect timeout of its cluster, counted there.
func dialUpstream(ctx context.Context, network, address string) (net.Conn, error) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, &connectError{net.UnknownNetworkError("no exchange to connect for")}
	}
	stats := &x.cluster.Stats
	dialer := net.Dialer{Timeout: x.config.ConnectTimeout, KeepAliveConfig: keepalive}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		stats.CxConnectFail.Add(1)
		return nil, &connectError{err}
	}
	stats.CxTotal.Add(1)
	stats.CxActive.Add(1)
	return &upstreamConn{Conn: conn, peer: newPeer(conn), stats: stats}, nil
}

// upstreamConn is a connection that its cluster counts. Of HTTP/1.1 it knows which exchange it carries.
type upstreamConn struct {
	net.Conn
	peer  *peer
	stats *ClusterStats
	once  sync.Once

	mu      sync.Mutex
	begins  bool      // nothing of the request has been written yet
	dead    bool      // nothing more will come
	carries *exchange // whose client still sends, and whose response has not begun
}

var errPeerGone = errors.New("the endpoint has closed the connection")

// Write fails before a request is written to a connection that its endpoint has closed, so that another one is taken. Written to it
// the request would be lost, and could not be sent again: nobody would know whether it had been seen.
func (c *upstreamConn) Write(p []byte) (int, error) {
	if !c.unwritten() {
		return c.Conn.Write(p)
	}
	if c.peer.gone() {
		return 0, errPeerGone
	}
	n, err := c.Conn.Write(p)
	if n == 0 && err != nil {
		return 0, fmt.Errorf("%w: %w", errPeerGone, err)
	}
	c.mu.Lock()
	c.begins = false
	var lost *exchange
	if c.dead {
		lost, c.carries = c.carries, nil
	}
	c.mu.Unlock()
	lost.sever()
	return n, err
}

// unwritten is whether nothing has been written of the request that the connection carries.
func (c *upstreamConn) unwritten() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begins
}

// Read notices the beginning of a response, and the end.
func (c *upstreamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !isInterim(p[:n]) {
		c.let()
	}
	if err != nil {
		c.mu.Lock()
		c.dead = true
		var lost *exchange
		if !c.begins { // else it gets another connection
			lost = c.carries
		}
		c.carries = nil
		c.mu.Unlock()
		lost.sever()
	}
	return n, err
}

// let lets go of the exchange.
func (c *upstreamConn) let() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.carries = nil
}

// isInterim is whether no more than one interim response has come.
func isInterim(p []byte) bool {
	return bytes.HasPrefix(p, []byte("HTTP/1.1 1")) && !bytes.HasPrefix(p, []byte("HTTP/1.1 101")) && bytes.Count(p, []byte("HTTP/1.1 ")) == 1
}

// sever ends an exchange that has lost its connection before its response has begun: the transport would wait for the client to send
// all of its body. nil is none.
func (x *exchange) sever() {
	if x != nil && !x.source.ended.Load() {
		x.lost.Store(true)
		_ = http.NewResponseController(x.writer).SetReadDeadline(time.Now()) // where it cannot be given one the client is waited for
	}
}

// carrying has the exchange know the connection that takes an attempt, in HTTP/1.1.
func (x *exchange) carrying(req *http.Request) *http.Request {
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: x.carriedBy}))
}

var errLost = errors.New("the connection was lost with the request on it")

// carriedBy is told of a connection. The transport takes another one by itself when one is lost, for methods that HTTP calls idempotent
// even after it has written the request: then it is stopped.
func (x *exchange) carriedBy(info httptrace.GotConnInfo) {
	c, ok := info.Conn.(*upstreamConn)
	if !ok {
		return
	}
	c.mu.Lock()
	if c.begins = true; x.source.x != nil {
		c.carries = x
	}
	c.mu.Unlock()
	if before := x.carrier.Swap(c); before != nil && !before.unwritten() {
		x.clock.cancel(errLost)
	}
}

// release lets go of the connection when the response has begun, or there is none.
func (x *exchange) release() {
	if c := x.carrier.Swap(nil); c != nil {
		c.let()
	}
}

func (c *upstreamConn) Close() error {
	c.once.Do(func() { c.stats.CxActive.Add(-1) })
	return c.Conn.Close()
}
