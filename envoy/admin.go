package envoy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// poll is the time between two looks at the admin interface.
	poll = 50 * time.Millisecond
	// adminTimeout bounds one request to it, maxAnswer its answer in bytes.
	adminTimeout = 5 * time.Second
	maxAnswer    = 1 << 20
)

// admin is the admin interface of an Envoy.
type admin struct{ address string }

func (a admin) post(ctx context.Context, path string) error {
	_, err := a.do(ctx, http.MethodPost, path)
	return err
}

func (a admin) do(ctx context.Context, method, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, nil)
	if err != nil {
		return "", fmt.Errorf("asking Envoy for %s: %w", path, err)
	}
	request.Close = true // the next request may meet another Envoy
	response, err := http.DefaultClient.Do(request)
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

// awaitIdle returns true when no connection is left, or Envoy is gone; false when the context ends first.
func (a admin) awaitIdle(ctx context.Context) bool {
	return await(ctx, func() bool {
		text, err := a.do(ctx, http.MethodGet, "/stats?filter=^server.total_connections$")
		if err != nil {
			return ctx.Err() == nil
		}
		_, count, _ := strings.Cut(strings.TrimSpace(text), ": ")
		open, err := strconv.Atoi(count)
		return err != nil || open == 0
	})
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
