package envoy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ErrNotInstalled says that no Envoy was named and none is on PATH.
var ErrNotInstalled = errors.New("no Envoy is on PATH; install one, name it by a flag or in ENVOY_BIN, or use the built-in gateway")

const (
	// An Envoy that ends by itself is started again after firstPause, twice as much each time it happens again, and at most lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	// defaultDrain is how long requests may take to finish, endWait how long Envoy may then take to end by SIGTERM.
	defaultDrain = 15 * time.Second
	endWait      = 5 * time.Second
	// outputWait bounds the wait for output that a child of Envoy's still holds open.
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

// Supervise says what Run runs.
type Supervise struct {
	// Path is the executable; see Find.
	Path string
	// Dir is the directory that the bootstrap is written to, as envoy.yaml.
	Dir string
	// Bootstrap is the configuration; its admin interface must be at Admin, host:port.
	Bootstrap []byte
	Admin     string
	// Logger gets what Envoy writes: its log by level, and access logs under the name "access".
	Logger hclog.Logger
	// Drain is how long requests may take to finish when Run ends; 0 means 15 seconds.
	Drain time.Duration
	// Ready is called each time an Envoy has its configuration and serves; it may be nil.
	Ready func()
}

// Run keeps an Envoy running until the context ends, and then drains and ends it. An Envoy that ends by itself is started
// again. The error is nil when the context has ended, and otherwise why Envoy cannot be started at all.
func Run(ctx context.Context, s Supervise) error {
	if s.Logger == nil {
		s.Logger = hclog.NewNullLogger()
	}
	if s.Drain == 0 {
		s.Drain = defaultDrain
	}
	config := filepath.Join(s.Dir, "envoy.yaml")
	if err := os.WriteFile(config, s.Bootstrap, 0o600); err != nil {
		return fmt.Errorf("writing the bootstrap of Envoy: %w", err)
	}
	pause := firstPause
	for ctx.Err() == nil {
		started := time.Now()
		if err := s.run(ctx, config); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(started) > lastPause {
			pause = firstPause
		}
		s.Logger.Error("envoy ended by itself; it is started again", "after", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
	return nil
}

// run is one life of Envoy.
func (s Supervise) run(ctx context.Context, config string) error {
	// The kernel ends Envoy with the thread that started it, so this one must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	command := exec.Command(s.Path, "-c", config, "--disable-hot-restart", "--drain-time-s", strconv.Itoa(max(1, int(s.Drain.Seconds()))),
		"--log-format", "%l\t%n\t%v")
	command.SysProcAttr = processAttributes()
	log, access := &lines{emit: s.log}, &lines{emit: s.logAccess}
	command.Stderr, command.Stdout = log, access
	command.WaitDelay = outputWait
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting Envoy: %w", err)
	}
	s.Logger.Info("envoy started", "path", s.Path, "pid", command.Process.Pid)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := command.Wait()
		log.flush()
		access.flush()
		s.Logger.Info("envoy ended", "pid", command.Process.Pid, "status", command.ProcessState.String(), "error", err)
	}()
	admin := admin{address: s.Admin}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		if admin.awaitReady(alive) && ctx.Err() == nil {
			s.Logger.Info("envoy is ready", "pid", command.Process.Pid)
			if s.Ready != nil {
				s.Ready()
			}
		}
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	cancel()
	s.drain(admin, ended)
	return end(command.Process, ended)
}

// drain lets requests finish: no new connections, and no new requests on those there are.
func (s Supervise) drain(a admin, ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Drain)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ended:
			cancel()
		case <-stop:
		}
	}()
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners?graceful"} {
		if err := a.post(ctx, path); err != nil {
			s.Logger.Warn("envoy cannot be drained", "error", err)
			return
		}
	}
	if !a.awaitIdle(ctx) {
		s.Logger.Warn("connections to envoy are cut: they did not end in time", "time", s.Drain)
	}
}

// end asks a process to end, and makes it.
func end(process *os.Process, ended <-chan struct{}) error {
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending Envoy: %w", err)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(endWait):
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing Envoy: %w", err)
	}
	<-ended
	return nil
}
