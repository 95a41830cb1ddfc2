package envoy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"
)

// ErrNotInstalled says that no Envoy was named and none is on PATH.
var ErrNotInstalled = errors.New("no Envoy is on PATH; install one, name it by a flag or in ENVOY_BIN, or use the built-in gateway")

const (
	// An Envoy that ends by itself is started again after firstPause, twice as much each further time, and at most lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	// maxUnready is how many Envoys in a row may end before any has been ready. Then Run fails.
	maxUnready = 5
	// defaultDrain is how long requests may take to finish, endWait how long Envoy may then take to end after SIGTERM.
	defaultDrain = 15 * time.Second
	endWait      = 5 * time.Second
	// outputWait bounds the wait for output when a child of Envoy holds it open.
	outputWait = 2 * time.Second
)

// Find returns the path of the Envoy to run: the one named, else the one that the environment variable ENVOY_BIN
// names, else the first on PATH. The error is ErrNotInstalled when none was named and there is none.
func Find(named string) (string, error) {
	if named == "" {
		named = os.Getenv("ENVOY_BIN")
	}
	if named == "" {
		path, err := exec.LookPath("envoy")
		if err != nil {
			return "", ErrNotInstalled
		}
		return path, nil
	}
	path, err := exec.LookPath(named)
	if err != nil {
		return "", fmt.Errorf("looking for the Envoy that was named: %w", err)
	}
	return path, nil
}

// TrustDynamic is the option by which Envoy does not search what the xDS server sends for fields that it does not know. Without it Envoy
// does that for each update, and again for the configuration of its retry priority with each request. The tests in test/envoy run without
// it, and have Envoy complain about such fields.
const TrustDynamic = "--ignore-unknown-dynamic-fields"

// Supervise configures Run.
type Supervise struct {
	// Path is the executable; see Find and Check.
	Path string
	// Dir is the directory where Run writes the bootstrap, as envoy.yaml.
	Dir string
	// Bootstrap is the configuration; its admin interface must be at Admin, as Options have it.
	Bootstrap []byte
	Admin     string
	// Logger gets Envoy's warnings and worse, the rest of its log at debug level, and access logs under the name "access".
	Logger hclog.Logger
	// Log gets the whole log as Envoy writes it; it may be nil.
	Log io.Writer
	// Drain is how long requests may take to finish when Run ends; 0 means 15 seconds.
	Drain time.Duration
	// Ready is called each time an Envoy has its configuration and serves; it may be nil.
	Ready func()
}

// life is one Envoy process.
type life struct {
	command *exec.Cmd
	output  *output
	admin   admin
	ended   chan struct{}
	ready   atomic.Bool // it has been ready
}

// Run keeps an Envoy running until the context ends, and then drains and ends it. It restarts an Envoy that ends by itself, unless several
// did before the first one was ready. The error is nil when the context has ended, and otherwise says why there is no Envoy.
func Run(ctx context.Context, s Supervise) error {
	if s.Logger == nil {
		s.Logger = hclog.NewNullLogger()
	}
	s.Drain = cmp.Or(s.Drain, defaultDrain)
	config := filepath.Join(s.Dir, "envoy.yaml")
	if err := os.WriteFile(config, s.Bootstrap, 0o600); err != nil {
		return fmt.Errorf("writing the bootstrap of Envoy: %w", err)
	}
	pause := backoff.ExponentialBackOff{InitialInterval: firstPause, Multiplier: 2, MaxInterval: lastPause}
	unready, served := 0, false
	between := &standIn{log: s.Logger, beside: map[netip.AddrPort]*beside{}}
	defer between.stop()
	for ctx.Err() == nil {
		started := time.Now()
		l, err := s.run(ctx, config, between)
		if err != nil || ctx.Err() != nil {
			return err
		}
		served = served || l.ready.Load()
		if unready++; unready == maxUnready && !served {
			return fmt.Errorf("it ended %d times before it was ready, the last time with %v%s", unready, l.command.ProcessState, l.logEnd())
		}
		if time.Since(started) > lastPause {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		s.Logger.Error("envoy ended by itself; it will be started again", "status", l.command.ProcessState.String(), "after", wait, "log",
			l.output.entries.tail())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// run runs one Envoy process to its end. If it ends by itself, the stand-in takes its connections from then on.
func (s Supervise) run(ctx context.Context, config string, between *standIn) (*life, error) {
	// The kernel ends Envoy with the thread that started it, so this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	l, err := s.start(config)
	if err != nil {
		return nil, err
	}
	alive, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		if l.admin.awaitReady(alive) && alive.Err() == nil {
			l.ready.Store(true)
			between.look(alive, l.admin)
			s.Logger.Info("envoy is ready", "pid", l.command.Process.Pid)
			if s.Ready != nil {
				s.Ready()
			}
			between.learn(alive, l.admin)
		}
	}()
	select {
	case <-l.ended:
		between.begin()
		return l, nil
	case <-ctx.Done():
	}
	cancel()
	between.stop()
	if l.ready.Load() {
		s.drain(l)
	}
	return l, l.end()
}

// start starts an Envoy.
func (s Supervise) start(config string) (*life, error) {
	l := &life{output: newOutput(s.Logger, s.Log), admin: newAdmin(s.Admin), ended: make(chan struct{})}
	l.command = exec.Command(s.Path, "-c", config, "--disable-hot-restart", TrustDynamic,
		"--drain-time-s", strconv.Itoa(max(1, int(s.Drain.Seconds()))), "--log-format", logFormat)
	l.command.SysProcAttr = processAttributes()
	l.command.Stderr, l.command.Stdout = l.output, &l.output.access
	l.command.WaitDelay = outputWait
	if err := l.command.Start(); err != nil {
		return nil, fmt.Errorf("starting Envoy: %w", err)
	}
	s.Logger.Info("envoy started", "path", s.Path, "pid", l.command.Process.Pid)
	go func() {
		defer close(l.ended)
		err := l.command.Wait()
		l.output.end()
		s.Logger.Info("envoy ended", "pid", l.command.Process.Pid, "status", l.command.ProcessState, "error", err)
	}()
	return l, nil
}

// logEnd is the end of the log, for an error that Envoy has ended.
func (l *life) logEnd() string {
	tail := l.output.entries.tail()
	if tail == "" {
		return ""
	}
	return "; its log ends with\n" + tail
}

// drain lets requests finish. It closes the listeners first. Later, when every response closes its connection, clients open so many new
// connections that some would be accepted at the moment when the listeners close, and be reset.
func (s Supervise) drain(l *life) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	go func() {
		select {
		case <-l.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := l.admin.post(ctx, "/drain_listeners")
	if err == nil {
		err = l.admin.post(ctx, "/healthcheck/fail")
	}
	switch {
	case l.hasEnded():
	case err != nil:
		s.Logger.Warn("envoy cannot be drained", "error", err)
	case !l.admin.awaitIdle(ctx) && !l.hasEnded():
		s.Logger.Warn("requests in envoy were cut off at the end of the drain", "drain", s.Drain)
	}
}

func (l *life) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// end asks the process to end, and kills it after endWait.
func (l *life) end() error {
	process := l.command.Process
	l.output.entries.expectEnd()
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending Envoy: %w", err)
	}
	select {
	case <-l.ended:
		return nil
	case <-time.After(endWait):
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing Envoy: %w", err)
	}
	<-l.ended
	return nil
}
