package upstream

import (
	"context"
	"net"
	"net/http"

	"sluice.dev/sluice/model"
)

// NewHTTP2 makes a transport for h2c. It sends nothing twice that may have been received; a failure to connect is a ConnectError. With
// ping it detects a queue-proxy that hangs; a gRPC server must not be pinged, since it closes connections on which it is pinged more
// often than it allows.
func NewHTTP2(ping bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	dialer := net.Dialer{Timeout: DialTimeout, KeepAliveConfig: keepalive}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, &ConnectError{err}
			}
			return c, nil
		},
		Protocols:              protocols,
		DisableCompression:     true,
		IdleConnTimeout:        model.IdleClient,
		MaxResponseHeaderBytes: maxResponseHeader,
		// A body that the client holds back waits in intake.Body, so the transport need not wait.
		ExpectContinueTimeout: 0,
	}
	if ping {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: model.PingInterval, PingTimeout: model.PingTimeout}
	}
	return t
}
