package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/model"
)

// Tuning of the upstream connections.
const (
	idlePerEndpoint     = 1024
	upstreamBufferBytes = 16 << 10
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
		DialContext:         dialUpstream,
		Protocols:           protocols,
		DisableCompression:  true,
		MaxIdleConnsPerHost: idlePerEndpoint,
		IdleConnTimeout:     model.IdleClient,
		ReadBufferSize:      upstreamBufferBytes,
		WriteBufferSize:     upstreamBufferBytes,
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
func (u *upstreams) transport(c *clusterConfig, in *http.Request, upgrade bool) *http.Transport {
	if upgrade || c.protocol == http1 || c.protocol == sameAsDownstream && in.ProtoMajor != 2 {
		return u.http1
	}
	if c.asks {
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
	stats := &x.cluster.stats
	dialer := net.Dialer{Timeout: x.config.connectTimeout, KeepAliveConfig: keepalive}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		stats.cxConnectFail.Add(1)
		return nil, &connectError{err}
	}
	stats.cxTotal.Add(1)
	stats.cxActive.Add(1)
	return &upstreamConn{Conn: conn, peer: newPeer(conn), stats: stats}, nil
}

// upstreamConn is a connection that its cluster counts.
type upstreamConn struct {
	net.Conn
	peer  *peer
	stats *clusterStats
	once  sync.Once
}

var errPeerGone = errors.New("the endpoint has closed the connection")

// Write fails before a request is written to a connection that its endpoint has closed, so that the transport takes another
// one. Written to it the request would be lost, and could not be sent again: nobody would know whether it had been seen.
func (c *upstreamConn) Write(p []byte) (int, error) {
	if beginsUnsafe(p) && c.peer.gone() {
		return 0, errPeerGone
	}
	return c.Conn.Write(p)
}

// beginsUnsafe is whether a request begins whose method may not be repeated. The transport repeats the others by itself.
func beginsUnsafe(p []byte) bool {
	for _, method := range [...]string{"POST ", "PUT ", "PATCH ", "DELETE "} {
		if len(p) >= len(method) && string(p[:len(method)]) == method {
			return true
		}
	}
	return false
}

func (c *upstreamConn) Close() error {
	c.once.Do(func() { c.stats.cxActive.Add(-1) })
	return c.Conn.Close()
}
