package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	// maxSocketPath is how long the path of a unix socket may be (sizeof sun_path, less its zero byte).
	maxSocketPath = 107
	// The back-off before a store that has ended is started again: it doubles from firstPause up to lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	// endTimeout is how long the process may take to end after stopWord.
	endTimeout = 5 * time.Second
)

// errUnexpected is why a store has ended that neither failed nor was asked to end.
var errUnexpected = errors.New("nothing asked it to")

// Options configure a Store.
type Options struct {
	// Dir is the data directory; the store has Dir/etcd and a socket beside it.
	Dir string
	// Command returns the command of a process that calls Serve. If it is nil, etcd runs within this process, and may end it.
	Command func(dir, socket string, existing bool) *exec.Cmd
	// Logger may be nil.
	Logger hclog.Logger
}

// Store keeps a store running.
type Store struct {
	// Set once, by Start.
	options   Options
	dir       string
	socket    string
	temporary string // a directory to remove at the end; empty when the socket is in the data directory
	client    *clientv3.Client
	cancel    context.CancelFunc
	done      chan struct{} // closed when the store has ended for good

	mu sync.Mutex
	// Guarded by mu.
	failure error         // why the store does not serve; nil while it serves
	left    bool          // Leave was called: failure stays set and down closed
	up      chan struct{} // closed while the store serves
	down    chan struct{} // closed while it does not
}

// Start starts the store and returns when it serves.
func Start(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	socket, temporary, err := socketPath(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		options: o, dir: filepath.Join(o.Dir, "etcd"), socket: socket, temporary: temporary,
		done: make(chan struct{}), up: make(chan struct{}), down: make(chan struct{}), failure: errors.New("the store has not started yet"),
	}
	var run context.Context
	run, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, s.cancel) // only during the start
	first := make(chan error, 1)
	go s.keep(run, first)
	if err = <-first; err == nil {
		s.client, err = clientv3.New(clientv3.Config{
			Endpoints: []string{s.URL()}, Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return s.Dial(ctx)
			})},
		})
	}
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// URL is the address for etcd clients, unix:///path.
func (s *Store) URL() string { return "unix://" + s.socket }

// Client returns an etcd client of the store.
func (s *Store) Client() *clientv3.Client { return s.client }

// Dial connects to the store. It waits until the store serves or ctx ends: if connections were refused, gRPC's back-off would keep
// the client away for longer than the store.
func (s *Store) Dial(ctx context.Context) (net.Conn, error) {
	for {
		s.mu.Lock()
		up := s.up
		s.mu.Unlock()
		select {
		case <-up:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", s.socket)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		select { // the store has just ended
		case <-time.After(firstPause):
		case <-ctx.Done():
		}
	}
}

// Failure returns a sentence that says why the store does not serve; nil while it serves.
func (s *Store) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// While returns a context that ends when the store stops serving, so that no request waits for an answer that will not come.
func (s *Store) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	go func() {
		select {
		case <-down:
			cancel(s.Failure())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Leave ends the contexts of While, before Stop. Dial goes on to connect: the API server makes a client for each kind that is asked for,
// holds a lock until the client has a connection, and needs that lock to end.
func (s *Store) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	if s.failure == nil {
		close(s.down)
	}
	s.failure = errors.New("the store is being stopped")
}

// Stop ends the store and returns when it has ended.
func (s *Store) Stop() {
	if s.client != nil {
		_ = s.client.Close()
	}
	s.cancel()
	<-s.done
	if s.temporary != "" {
		_ = os.RemoveAll(s.temporary)
	}
}

// keep runs the store again and again until ctx ends. It sends the outcome of the first start to first.
func (s *Store) keep(ctx context.Context, first chan<- error) {
	defer close(s.done)
	pause := backoff.ExponentialBackOff{InitialInterval: firstPause, Multiplier: 2, MaxInterval: lastPause}
	existing, logged := false, ""
	for {
		served := time.Time{}
		err := s.run(ctx, existing, func() {
			served = time.Now()
			s.began(existing, first)
		})
		s.fails(err)
		existing = existing || !served.IsZero()
		if !served.IsZero() && time.Since(served) > lastPause {
			pause.Reset()
			logged = ""
		}
		if !existing || ctx.Err() != nil {
			first <- err // buffered: after the first start nothing reads it
			return
		}
		// A sentence is logged once. The name of the file in brackets at its end differs each time, and does not count.
		if sentence, _, _ := strings.Cut(err.Error(), " ("); sentence != logged || !served.IsZero() {
			s.options.Logger.Error("the store has ended: the API answers 503 until it serves again, and services go on", "why", err)
			logged = sentence
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// began notes that the store serves: again, or, when it has not existed before, for the first time, which it sends to first.
func (s *Store) began(existing bool, first chan<- error) {
	if existing {
		s.options.Logger.Info("the store serves again")
	}
	s.serves()
	if !existing {
		first <- nil
	}
}

func (s *Store) serves() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.up:
	default:
		close(s.up)
	}
	if !s.left {
		s.failure, s.down = nil, make(chan struct{})
	}
}

func (s *Store) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.up = make(chan struct{})
		close(s.down)
	}
	s.failure = err
}

// run runs the store until it ends by itself or ctx ends, and returns why. It calls ready when the store serves, and not after it
// has returned.
func (s *Store) run(ctx context.Context, existing bool, ready func()) error {
	if s.options.Command == nil {
		return cmp.Or(Run(ctx, Config{Dir: s.dir, Socket: s.socket, Existing: existing, Ready: ready}), errUnexpected)
	}
	cmd := s.options.Command(s.dir, s.socket, existing)
	var failure bytes.Buffer
	cmd.Stderr = &failure
	cmd.SysProcAttr = ownGroup() // so that Ctrl-C ends us first
	in, err := cmd.StdinPipe()
	if err != nil {
		return explain(s.dir, fmt.Errorf("starting its process: %w", err))
	}
	defer func() { _ = in.Close() }()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return explain(s.dir, fmt.Errorf("starting its process: %w", err))
	}
	if err := cmd.Start(); err != nil {
		return explain(s.dir, fmt.Errorf("starting its process: %w", err))
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = io.WriteString(in, stopWord)
		select {
		case <-ended:
		case <-time.After(endTimeout):
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	late := time.AfterFunc(startTimeout+lockTimeout, func() { _ = cmd.Process.Kill() })
	if said, _ := io.ReadAll(io.LimitReader(out, int64(len(readyWord)))); string(said) == readyWord {
		late.Stop()
		ready()
	}
	err = cmd.Wait()
	late.Stop()
	close(ended)
	return s.ended(err, failure.String())
}

// ended returns why the process has ended: its own sentence, or the first line of a crash.
func (s *Store) ended(err error, said string) error {
	said, _, _ = strings.Cut(strings.TrimSpace(said), "\n")
	if sentence, ok := strings.CutPrefix(said, failedWord); ok {
		return errors.New(sentence)
	}
	if said != "" {
		return explain(s.dir, errors.New(said))
	}
	return fmt.Errorf("the process of the store %s has ended (%w)", s.dir, cmp.Or(err, errUnexpected))
}

// socketPath returns where etcd listens: in dir, or if that path is too long in a temporary directory, which it returns too.
func socketPath(dir string) (path, temporary string, err error) {
	path = filepath.Join(dir, "etcd.sock")
	if len(path) <= maxSocketPath {
		return path, "", nil
	}
	temporary, err = os.MkdirTemp("/tmp", "sluice-") // not os.TempDir: TMPDIR may be as long as dir
	if err != nil {
		return "", "", fmt.Errorf("making a temporary directory for etcd's socket, "+
			"because the path of %s is too long for a socket: %w", dir, err)
	}
	return filepath.Join(temporary, "etcd.sock"), temporary, nil
}
