package queueproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// checker runs single probes of one application.
type checker struct {
	probe   model.Probe
	address string // host:port that is probed
	exec    func(ctx context.Context, command []string) error
	http    *http.Client
	h2c     *http.Client
}

func newChecker(probe model.Probe, address string, exec func(context.Context, []string) error) *checker {
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	plain := &http.Transport{
		DisableKeepAlives: true, // each probe shows that the application accepts connections
		// As in the kubelet: a probe does not authenticate the application.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}
	h2c := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	return &checker{
		probe: probe, address: address, exec: exec,
		http: &http.Client{Transport: plain, CheckRedirect: noRedirect},
		h2c:  &http.Client{Transport: h2c},
	}
}

// check probes once. The error says what the application did.
func (c *checker) check(ctx context.Context) error {
	switch {
	case c.probe.HTTP != nil:
		return c.get(ctx, c.probe.HTTP)
	case c.probe.GRPC != nil:
		return c.askHealth(ctx, c.probe.GRPC.Service)
	case len(c.probe.Exec) > 0:
		if c.exec == nil {
			return errors.New("an exec probe cannot be run here")
		}
		return c.exec(ctx, c.probe.Exec)
	default:
		return dial(ctx, c.address)
	}
}

func dial(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("TCP probe of %s: %w", address, err)
	}
	return conn.Close()
}

// get succeeds on 200 to 399, like the kubelet's probe; redirects are not followed.
func (c *checker) get(ctx context.Context, probe *model.HTTPProbe) error {
	scheme, address := "http", c.address
	if strings.EqualFold(probe.Scheme, "https") {
		scheme = "https"
	}
	if probe.Host != "" {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("HTTP probe of %s: %w", address, err)
		}
		address = net.JoinHostPort(probe.Host, port)
	}
	path := probe.Path
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("HTTP probe of %s: %w", path, err)
	}
	r.Header.Set("User-Agent", "kube-probe/1.37")
	for _, h := range probe.Headers {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			r.Host = h.Value
			continue
		}
		r.Header.Set(h.Name, h.Value)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("HTTP probe of %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode < 200 || response.StatusCode > 399 {
		return fmt.Errorf("HTTP probe of %s: got status %d, want 200 to 399", path, response.StatusCode)
	}
	return nil
}

// The messages of grpc.health.v1 are encoded by hand, which keeps gRPC out of the sidecar:
// HealthCheckRequest{string service = 1}, HealthCheckResponse{ServingStatus status = 1} with SERVING = 1.
const (
	grpcPrefix     = 5    // bytes: a flag and the length of the message
	serviceField   = 0x0a // field 1, length-delimited
	statusField    = 0x08 // field 1, varint
	statusServing  = 1
	maxHealthReply = 64 // bytes
)

// askHealth succeeds when grpc.health.v1.Health/Check answers SERVING.
func (c *checker) askHealth(ctx context.Context, service string) error {
	message := []byte{}
	if service != "" {
		message = append(message, serviceField)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))) //nolint:gosec // a service name is short
	body = append(body, message...)
	url := "http://" + c.address + "/grpc.health.v1.Health/Check"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("gRPC probe: %w", err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	r.Header.Set("User-Agent", "kube-probe/1.37")
	response, err := c.h2c.Do(r)
	if err != nil {
		return fmt.Errorf("gRPC probe: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxHealthReply))
	if err != nil {
		return fmt.Errorf("gRPC probe: %w", err)
	}
	status := response.Header.Get("Grpc-Status") + response.Trailer.Get("Grpc-Status") // in one of them
	if status != "0" {
		return fmt.Errorf("gRPC probe: got HTTP status %d and gRPC status %s", response.StatusCode, strconv.Quote(status))
	}
	if len(reply) < grpcPrefix || !bytes.Equal(reply[grpcPrefix:], []byte{statusField, statusServing}) {
		return fmt.Errorf("gRPC probe: service %q is not SERVING", service)
	}
	return nil
}

// bounded runs a check with the probe's timeout.
func (c *checker) bounded(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.check(ctx)
}
