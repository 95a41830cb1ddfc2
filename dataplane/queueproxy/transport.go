package queueproxy

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"sluice.dev/sluice/model"
)

const (
	bufferSize = 32 << 10 // bytes; what ReverseProxy would allocate for each response
	// idlePerTarget is how many idle HTTP/1.1 connections to one application are kept.
	idlePerTarget = 1000
)

// Transport sends requests to applications over connections that it keeps. Any number of proxies may share it.
type Transport struct {
	http1, h2c *http.Transport
	buffers    *buffers
}

// NewTransport returns a Transport without connections.
func NewTransport() *Transport {
	t := &Transport{http1: newTransport(false), h2c: newTransport(true), buffers: &buffers{}}
	t.h2c.Protocols = new(http.Protocols)
	t.h2c.Protocols.SetUnencryptedHTTP2(true)
	return t
}

func newTransport(shared bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: -1}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newAppConn(c, shared), nil
		},
		DisableCompression:  true, // client and application negotiate it
		MaxIdleConnsPerHost: idlePerTarget,
		IdleConnTimeout:     model.IdleApplication,
		// A body with an expectation waits in intake.Body, so the transport need not wait.
		ExpectContinueTimeout: 0,
	}
}

// Close closes the idle connections.
func (t *Transport) Close() {
	t.http1.CloseIdleConnections()
	t.h2c.CloseIdleConnections()
}

func (t *Transport) forProtocol(p model.Protocol) http.RoundTripper {
	if p == model.H2C {
		return upgradesOverHTTP1{t}
	}
	return t.http1
}

// upgradesOverHTTP1 is for applications of h2c: HTTP/2 has no Upgrade, so a WebSocket still opens with HTTP/1.1.
type upgradesOverHTTP1 struct{ t *Transport }

func (u upgradesOverHTTP1) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header["Upgrade"] != nil {
		return u.t.http1.RoundTrip(r)
	}
	return u.t.h2c.RoundTrip(r)
}

// buffers is a pool of response buffers. It keeps array pointers, because putting a slice into a sync.Pool allocates.
type buffers struct{ pool sync.Pool }

// Get returns a buffer of bufferSize bytes.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

// Put takes back a buffer that Get returned.
func (b *buffers) Put(p []byte) {
	if len(p) == bufferSize {
		b.pool.Put((*[bufferSize]byte)(p))
	}
}
