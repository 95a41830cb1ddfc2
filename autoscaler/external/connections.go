package external

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"sluice.dev/sluice/model"
)

const (
	// mostMessage and mostHeaders bound what a server may send at a time, in bytes.
	mostMessage = 1 << 20
	mostHeaders = 16 << 10
	// perConnection is how many scalers share a connection. Each has a stream open all the time, and servers bound their number.
	perConnection = 50
	// keepaliveTime is when a silent connection is probed. A server may close a connection that is probed more often than every 5 minutes.
	keepaliveTime, keepaliveTimeout = 6 * time.Minute, 20 * time.Second
	// lastReconnect is the longest back-off between two attempts to connect.
	lastReconnect = 30 * time.Second
)

// endpoint is a server and how it is spoken to.
type endpoint struct {
	address string
	tls     model.ClientTLS
}

// connections are those to external scalers, shared by the scalers with the same endpoint.
type connections struct {
	dialer dialer

	mu  sync.Mutex
	all map[endpoint][]*connection
}

type connection struct {
	*grpc.ClientConn
	users int
}

// get returns a connection and what is to be called when it is not used any more. It does not wait until it is connected.
func (c *connections) get(to endpoint) (*grpc.ClientConn, func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.all[to] {
		if conn.users < perConnection {
			conn.users++
			return conn.ClientConn, sync.OnceFunc(func() { c.release(to, conn) }), nil
		}
	}
	client, err := Dial(to.address, to.tls, c.dialer.loopback)
	if err != nil {
		return nil, nil, err
	}
	conn := &connection{client, 1}
	c.all[to] = append(c.all[to], conn)
	return client, sync.OnceFunc(func() { c.release(to, conn) }), nil
}

func (c *connections) release(to endpoint, conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.users--; conn.users > 0 {
		return
	}
	_ = conn.Close() // it fails only when it is closed already
	var left []*connection
	for _, other := range c.all[to] {
		if other != conn {
			left = append(left, other)
		}
	}
	if c.all[to] = left; len(left) == 0 {
		delete(c.all, to)
	}
}

// Dial returns a connection to an external scaler, as a Runner makes it; loopback permits addresses of this machine. It does not wait until
// it is connected.
func Dial(address string, with model.ClientTLS, loopback bool) (*grpc.ClientConn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %s is not host:port", foreign(address))
	}
	config, err := clientTLS(with, host)
	if err != nil {
		return nil, err
	}
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	return grpc.NewClient("dns:///"+address,
		grpc.WithTransportCredentials(creds), grpc.WithUserAgent("sluice"), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			return dialer{loopback}.dial(ctx, "tcp", to)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostMessage)), grpc.WithMaxHeaderListSize(mostHeaders),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: backoff.DefaultConfig.BaseDelay, Multiplier: backoff.DefaultConfig.Multiplier,
				Jitter: backoff.DefaultConfig.Jitter, MaxDelay: lastReconnect,
			},
			MinConnectTimeout: dialTimeout,
		}))
}
