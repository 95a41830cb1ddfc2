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

// upstreams are the connections to all endpoints of all clusters: a transport for each protocol, and one for HTTP/2 with pings.
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
		// The translator tells Envoy the same.
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
		MaxIdleConnsPerHost:    idlePerEndpoint,
		IdleConnTimeout:        model.IdleClient,
		ReadBufferSize:         upstreamBufferBytes,
		WriteBufferSize:        upstreamBufferBytes,
		// A client with Expect: 100-continue waits for the endpoint to ask for the body; after this time it is sent anyway.
		ExpectContinueTimeout: time.Second,
	}
}

// keepalive ends connections to a machine that has vanished.
var keepalive = net.KeepAliveConfig{
	Enable: true, Idle: model.KeepaliveIdle, Interval: model.KeepaliveInterval, Count: model.KeepaliveProbes,
}

func (u *upstreams) close() {
	u.http1.CloseIdleConnections()
	u.h2c.CloseIdleConnections()
	u.asking.CloseIdleConnections()
}

// transport is the transport for a request. An upgrade always takes HTTP/1.1: over HTTP/2 it needs extended CONNECT, which queue-proxies
// do not support.
func (u *upstreams) transport(c *settings.Cluster, in *http.Request, upgrade bool) *http.Transport {
	if upgrade || c.Protocol == settings.HTTP1 || c.Protocol == settings.SameAsDownstream && in.ProtoMajor != 2 {
		return u.http1
	}
	if c.Pings {
		return u.asking
	}
	return u.h2c
}

// dialUpstream connects for the exchange in the context, with the connect timeout of its cluster, and counts the connection there.
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

// upstreamConn is a connection to an endpoint. With HTTP/1.1 it knows which exchange it carries.
type upstreamConn struct {
	// Set once.
	net.Conn
	peer  *peer // asked by the goroutine that writes
	stats *ClusterStats
	once  sync.Once // counts the end once

	// Guarded by mu.
	mu      sync.Mutex
	begins  bool      // nothing of the request has been written yet
	dead    bool      // a read has failed
	carries *exchange // with a client that still sends and a response that has not begun; else nil
}

var errPeerGone = errors.New("the endpoint has closed the connection")

// Write fails before it writes a request to a connection that the endpoint has closed, so that the request takes another one. Once written,
// the request would be lost and could not be retried: nobody would know whether the endpoint has seen it.
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
	lost.connectionLost()
	return n, err
}

// unwritten is whether nothing of the current request has been written.
func (c *upstreamConn) unwritten() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begins
}

// Read notices the beginning of a response, and the end of the connection.
func (c *upstreamConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !isInterim(p[:n]) {
		c.detach()
	}
	if err != nil {
		c.mu.Lock()
		c.dead = true
		var lost *exchange
		if !c.begins { // else the request takes another connection
			lost = c.carries
		}
		c.carries = nil
		c.mu.Unlock()
		lost.connectionLost()
	}
	return n, err
}

// detach separates the connection from its exchange.
func (c *upstreamConn) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.carries = nil
}

// isInterim reports whether p is one interim response and nothing after it.
func isInterim(p []byte) bool {
	return bytes.HasPrefix(p, []byte("HTTP/1.1 1")) && !bytes.HasPrefix(p, []byte("HTTP/1.1 101")) &&
		bytes.Count(p, []byte("HTTP/1.1 ")) == 1
}

// connectionLost ends an exchange whose connection was lost before its response began: the transport would wait until the client has sent
// all of its body. nil is none.
func (x *exchange) connectionLost() {
	if x != nil && !x.source.ended.Load() {
		x.lost.Store(true)
		_ = http.NewResponseController(x.writer).SetReadDeadline(time.Now()) // where it fails, the transport waits for the client
	}
}

// traced has gotConn learn which connection an HTTP/1.1 attempt takes.
func (x *exchange) traced(req *http.Request) *http.Request {
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: x.gotConn}))
}

var errLost = errors.New("the connection was lost with the request on it")

// gotConn links the exchange and its connection. When a connection is lost, the transport takes another one by itself, for idempotent
// methods even after it has written the request. gotConn cancels the exchange then: the endpoint may have seen the request.
func (x *exchange) gotConn(info httptrace.GotConnInfo) {
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

// release unlinks the exchange and its connection: the response has begun, or the attempt has failed.
func (x *exchange) release() {
	if c := x.carrier.Swap(nil); c != nil {
		c.detach()
	}
}

func (c *upstreamConn) Close() error {
	c.once.Do(func() { c.stats.CxActive.Add(-1) })
	return c.Conn.Close()
}
