// Package sample is the app of the examples. It greets with $TARGET and its revision, and a query can ask it to wait, to compute or to
// answer at length. It speaks HTTP/1.1, HTTP/2 without TLS, WebSocket and gRPC on one port. It stands for a user's app, so it must not
// know anything of Sluice but the environment that every container gets.
package sample

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The limits of what a request may ask for.
const (
	maxWait = 10 * time.Minute
	maxSize = 1 << 30
)

// Options of the app; Run takes them from the environment.
type Options struct {
	// Address to listen on, host:port.
	Address string
	// Target is the name to greet, and Revision the one that greets.
	Target, Revision string
	// Drain bounds how long requests in flight may take after the context ends.
	Drain time.Duration
}

// FromEnvironment reads PORT (8080), TARGET (World) and K_REVISION, as every container of a revision has them.
func FromEnvironment() Options {
	return Options{
		Address: net.JoinHostPort(value("HOST", "127.0.0.1"), value("PORT", "8080")),
		Target:  value("TARGET", "World"), Revision: value("K_REVISION", "nobody"), Drain: 30 * time.Second,
	}
}

func value(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Run serves until the context ends, and then finishes what is in flight.
func Run(ctx context.Context, o Options) error {
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		return fmt.Errorf("listening on $PORT: %w", err)
	}
	server := &http.Server{Handler: Handler(o), ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.Background(), o.Drain)
		defer cancel()
		drained <- server.Shutdown(bounded)
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return <-drained
}

// Handler answers
//
//	/            "Hello TARGET from REVISION", after what the query asks for: sleep=100ms waits,
//	             cpu=50ms computes, size=10kb adds so many bytes
//	/healthz     200
//	/ws          a WebSocket that echoes
//
// and gRPC (see EchoMethod and StreamMethod). The gRPC server is made at the first call, so that plain HTTP costs nothing for it.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/ws", echo)
	mux.HandleFunc("/", o.greet)
	rpc := sync.OnceValue(func() http.Handler { return newRPC(o.greeting()) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			rpc().ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (o Options) greeting() string { return fmt.Sprintf("Hello %s from %s", o.Target, o.Revision) }

func (o Options) greet(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	wait, err := duration(query.Get("sleep"))
	if err != nil {
		http.Error(w, "sleep: "+err.Error(), http.StatusBadRequest)
		return
	}
	compute, err := duration(query.Get("cpu"))
	if err != nil {
		http.Error(w, "cpu: "+err.Error(), http.StatusBadRequest)
		return
	}
	size, err := bytesOf(query.Get("size"))
	if err != nil {
		http.Error(w, "size: "+err.Error(), http.StatusBadRequest)
		return
	}
	burn(r.Context(), compute)
	if !sleep(r.Context(), wait) {
		return // the client is gone
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, o.greeting())
	for filler := []byte(strings.Repeat("x", 32<<10)); size > 0; size -= len(filler) {
		if _, err := w.Write(filler[:min(size, len(filler))]); err != nil {
			return
		}
	}
}

func duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxWait {
		return 0, fmt.Errorf("%q is not a duration from 0s to %s, such as 100ms", s, maxWait)
	}
	return d, nil
}

// bytesOf reads "500", "10kb" or "3mb".
func bytesOf(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	number, factor := strings.ToLower(s), 1
	for _, unit := range []struct {
		suffix string
		factor int
	}{{"kb", 1 << 10}, {"mb", 1 << 20}} {
		if n, ok := strings.CutSuffix(number, unit.suffix); ok {
			number, factor = n, unit.factor
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > maxSize/factor {
		return 0, fmt.Errorf("%q is not a number of bytes up to 1 GiB, such as 10kb", s)
	}
	return n * factor, nil
}

// burn computes for about d.
func burn(ctx context.Context, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		for i := range 10_000 {
			_ = i * i
		}
	}
}

// sleep waits for d and reports false when the context ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// echo sends back every message of a WebSocket until the client closes it.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // any origin may echo
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
