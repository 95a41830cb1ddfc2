package envoy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxSocketPath is how long the path of a socket may be, in bytes: what sockaddr_un has room for.
const MaxSocketPath = 107

const (
	// unixScheme begins an address that is the path of a socket.
	unixScheme = "unix:"
	// poll is the time between two requests to the admin interface.
	poll = 50 * time.Millisecond
	// quietPolls is how many polls in a row must find no request in progress. Meanwhile a client may send another request on a
	// connection that it keeps; Envoy answers it as the last one on that connection.
	quietPolls = 10
	// adminTimeout bounds one request to the admin interface, maxAnswer its answer in bytes.
	adminTimeout = 5 * time.Second
	maxAnswer    = 1 << 20
)

// AdminTransport sends requests to the admin interface at an address (host:port, or unix: and the path of a socket), whatever the host of
// their URLs.
func AdminTransport(address string) *http.Transport {
	network := "tcp"
	path, isSocket := strings.CutPrefix(address, unixScheme)
	if isSocket {
		network, address = "unix", path
	}
	dialer := &net.Dialer{KeepAlive: -1}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		DisableCompression:     true, // or a small answer could become a large page
		MaxResponseHeaderBytes: 16 << 10,
		IdleConnTimeout:        30 * time.Second,
	}
}

// AdminHost is the host for URLs of the admin interface at an address, for use with AdminTransport.
func AdminHost(address string) string {
	if strings.HasPrefix(address, unixScheme) {
		return "localhost"
	}
	return address
}

// admin is the admin interface of an Envoy.
type admin struct {
	host   string
	client *http.Client
}

func newAdmin(address string) admin {
	transport := AdminTransport(address)
	transport.DisableKeepAlives = true // the next request may meet another Envoy
	return admin{host: AdminHost(address), client: &http.Client{Transport: transport, Timeout: adminTimeout}}
}

// post sends a POST, and retries it until it succeeds. The error is the last one when the context ends first.
func (a admin) post(ctx context.Context, path string) error {
	var failure error
	await(ctx, func() bool {
		_, err := a.do(ctx, http.MethodPost, path)
		if ctx.Err() == nil || failure == nil {
			failure = err
		}
		return err == nil
	})
	return failure
}

func (a admin) do(ctx context.Context, method, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.host+path, nil)
	if err != nil {
		return "", fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("reading Envoy's answer to %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking Envoy for %s: it answers %s", path, response.Status)
	}
	return string(body), nil
}

// awaitReady returns true when Envoy has its configuration and serves, false when the context ends first.
func (a admin) awaitReady(ctx context.Context) bool {
	return await(ctx, func() bool {
		_, err := a.do(ctx, http.MethodGet, "/ready")
		return err == nil
	})
}

// busyPath asks for the gauges of requests in progress: how many there are, upgraded ones (WebSocket) included, and how many bytes of
// responses wait for clients to read them. Unlike those of the server as a whole, such as server.total_connections, they do not wait for
// the flush of the statistics.
var busyPath = "/stats?filter=" + url.QueryEscape(`^http\..+\.downstream_(rq_active|cx_tx_bytes_buffered)$`)

// adminStats begins the names of the admin interface's own metrics, in which this request itself is in progress.
const adminStats = "http.admin."

// awaitIdle returns true when no request was in progress for a while, false when the context ends first. An Envoy that does not answer does
// not count as idle.
func (a admin) awaitIdle(ctx context.Context) bool {
	quiet := 0
	return await(ctx, func() bool {
		text, err := a.do(ctx, http.MethodGet, busyPath)
		quiet++
		if err != nil || busy(text) {
			quiet = 0
		}
		return quiet >= quietPolls
	})
}

// busy reports whether a gauge is above 0.
func busy(text string) bool {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.Atoi(value)
		if err == nil && n > 0 && !strings.HasPrefix(name, adminStats) {
			return true
		}
	}
	return false
}

func await(ctx context.Context, condition func() bool) bool {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		if condition() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}
