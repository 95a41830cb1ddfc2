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
	// A store that ended is started again after firstPause, then twice as long each time, up to lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	// endPatience is how long the process may take to end when it is told to.
	endPatience = 5 * time.Second
)

// errUnasked is why a store ends that neither failed nor was told to.
var errUnasked = errors.New("it was not told to")

// Options say where a Store is and what runs it.
type Options struct {
	// Dir is the data directory; the store has Dir/etcd and a socket beside it.
	Dir string
	// Command is what serves it as a process of its own, by calling Serve; nil has etcd run within this process, which it then may end.
	Command func(dir, socket string, existing bool) *exec.Cmd
	// Logger may be nil.
	Logger hclog.Logger
}

// Store is a store that is kept running.
type Store struct {
	options   Options
	dir       string
	socket    string
	temporary string // a directory to remove at the end; empty when the socket is in the data directory
	client    *clientv3.Client
	cancel    context.CancelFunc
	done      chan struct{}

	mu      sync.Mutex
	failure error         // why it does not serve; nil while it does
	back    chan struct{} // closed when it serves
	gone    chan struct{} // closed when it does not any more
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
		done: make(chan struct{}), back: make(chan struct{}), gone: make(chan struct{}), failure: errors.New("the store has not started yet"),
	}
	var run context.Context
	run, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, s.cancel) // as long as it starts
	first := make(chan error, 1)
	go s.keep(run, first)
	if err = <-first; err == nil {
		s.client, err = clientv3.New(clientv3.Config{
			Endpoints: []string{s.URL()}, Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.Dial(ctx) })},
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

// Client is a client of the store.
func (s *Store) Client() *clientv3.Client { return s.client }

// Dial connects to the store. While it does not serve, that waits until it does, or ctx ends: a client that was refused would come
// back less and less often.
func (s *Store) Dial(ctx context.Context) (net.Conn, error) {
	for {
		s.mu.Lock()
		back := s.back
		s.mu.Unlock()
		select {
		case <-back:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", s.socket)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		select { // it has ended a moment ago
		case <-time.After(firstPause):
		case <-ctx.Done():
		}
	}
}

// Failure is why the store does not serve, in a sentence; nil while it does.
func (s *Store) Failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// While returns a context that ends with the store: a request that it does not answer any more is not waited for.
func (s *Store) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	go func() {
		select {
		case <-gone:
			cancel(s.Failure())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Leave has whoever waits for an answer of the store wait no longer: it is to end.
func (s *Store) Leave() { s.fails(errors.New("the store is being stopped")) }

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

// keep runs the store again and again until ctx ends. What becomes of the first start goes to first.
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
			first <- err // nobody reads it after the first start
			return
		}
		// Which file it was that could not be written, in the brackets at the end, is a new one each time.
		if sentence, _, _ := strings.Cut(err.Error(), " ("); sentence != logged || !served.IsZero() {
			s.options.Logger.Error("the store has ended: the API answers nobody until it is back, and services go on", "why", err)
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
	s.failure, s.gone = nil, make(chan struct{})
	close(s.back)
}

func (s *Store) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.back = make(chan struct{})
		close(s.gone)
	}
	s.failure = err
}

// run runs the store until it ends by itself or ctx does, and says why. Ready is called when it serves, from another goroutine that has ended
// when run returns.
func (s *Store) run(ctx context.Context, existing bool, ready func()) error {
	if s.options.Command == nil {
		return cmp.Or(Run(ctx, Config{Dir: s.dir, Socket: s.socket, Existing: existing, Ready: ready}), errUnasked)
	}
	cmd := s.options.Command(s.dir, s.socket, existing)
	var failure bytes.Buffer
	cmd.Stderr = &failure
	cmd.SysProcAttr = ownGroup() // Ctrl-C is for us, and it ends after us
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
		case <-time.After(endPatience):
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	late := time.AfterFunc(startPatience+lockPatience, func() { _ = cmd.Process.Kill() })
	if said, _ := io.ReadAll(io.LimitReader(out, int64(len(readyWord)))); string(said) == readyWord {
		late.Stop()
		ready()
	}
	err = cmd.Wait()
	late.Stop()
	close(ended)
	return s.ended(err, failure.String())
}

// ended says why the process has: in its own words, or from the first line of a crash.
func (s *Store) ended(err error, said string) error {
	said, _, _ = strings.Cut(strings.TrimSpace(said), "\n")
	if sentence, ok := strings.CutPrefix(said, failedWord); ok {
		return errors.New(sentence)
	}
	if said != "" {
		return explain(s.dir, errors.New(said))
	}
	return fmt.Errorf("the process of the store %s has ended (%w)", s.dir, cmp.Or(err, errUnasked))
}

// socketPath returns where etcd listens: in dir, or in a short temporary directory (also returned) when that is too long.
func socketPath(dir string) (path, temporary string, err error) {
	path = filepath.Join(dir, "etcd.sock")
	if len(path) <= maxSocketPath {
		return path, "", nil
	}
	temporary, err = os.MkdirTemp("/tmp", "sluice-") // not os.TempDir: TMPDIR may be as long as dir
	if err != nil {
		return "", "", fmt.Errorf("making a directory for etcd's socket, as the path of %s is too long for one: %w", dir, err)
	}
	return filepath.Join(temporary, "etcd.sock"), temporary, nil
}
