package queueproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"sluice.dev/sluice/model"
)

// The defaults of Kubernetes for what a probe does not say.
const (
	defaultPeriod           = 10 * time.Second
	defaultTimeout          = time.Second
	defaultFailureThreshold = 3
)

// Before the first success the pause between two probes is a twentieth of the time that has passed, within these bounds. Readiness is so
// noticed after at most a twentieth more than the application itself took.
const (
	paceShare    = 20
	fastestDial  = 200 * time.Microsecond
	slowestDial  = 2 * time.Millisecond // up to secondPhase; costs a starting application 2 % of a core
	secondPhase  = time.Second
	secondDial   = 5 * time.Millisecond // up to thirdPhase
	thirdPhase   = 10 * time.Second
	thirdDial    = 50 * time.Millisecond
	fastestProbe = 2 * time.Millisecond
	slowestProbe = 50 * time.Millisecond // without a period, as in Knative
)

// awaitReady is how long a probe of the platform waits for an application without a probe period, as in Knative.
const awaitReady = 10 * time.Second

// Prober probes whether an application is ready, alive or started. All methods may be called concurrently.
type Prober struct {
	probe   model.Probe
	checker *checker
	gate    string // host:port that must accept connections before the probe itself is run; empty means none
	shared  singleflight.Group
	last    atomic.Pointer[error] // of the last probe
}

// NewProber returns a Prober of the application at host:port target. A probe that names a port goes there instead. exec runs the command
// of an exec probe where the application runs; it may be nil when there is none.
//
// The defaults are those of Kubernetes: a timeout of 1 s, a success threshold of 1, a failure threshold of 3.
func NewProber(probe model.Probe, target string, exec func(ctx context.Context, command []string) error) (*Prober, error) {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil, fmt.Errorf("probing %q: %w", target, err)
	}
	address := target
	if probe.Port != 0 {
		address = net.JoinHostPort(host, strconv.Itoa(probe.Port))
	}
	gate := address
	if len(probe.Exec) > 0 && probe.Port == 0 || probe.HTTP != nil && probe.HTTP.Host != "" {
		gate = "" // the command may probe anything, or the address is another host's
	}
	probe.Timeout = cmp.Or(probe.Timeout, defaultTimeout)
	probe.SuccessThreshold = max(probe.SuccessThreshold, 1)
	probe.FailureThreshold = cmp.Or(max(probe.FailureThreshold, 0), defaultFailureThreshold)
	return &Prober{probe: probe, checker: newChecker(probe, address, exec), gate: gate}, nil
}

// Budget is how long a startup probe may take in all: its initial delay, and its failure threshold times its period.
func (p *Prober) Budget() time.Duration {
	return p.probe.InitialDelay + time.Duration(p.probe.FailureThreshold)*p.period()
}

func (p *Prober) period() time.Duration { return cmp.Or(p.probe.Period, defaultPeriod) }

// Await probes an application that is starting, and returns nil when the probe succeeds. It dials until the application listens, which is
// cheap, and then runs the probe itself, at a decreasing rate down to the probe's period. When the context ends first, the error says why
// the last probe failed.
func (p *Prober) Await(ctx context.Context) error {
	if err := sleep(ctx, p.probe.InitialDelay); err != nil {
		return err
	}
	return p.await(ctx)
}

func (p *Prober) await(ctx context.Context) error {
	began := time.Now()
	pace := func(fastest, slowest time.Duration) time.Duration {
		return min(max(time.Since(began)/paceShare, fastest), slowest)
	}
	for p.gate != "" {
		err := p.note(ctx, dial(ctx, p.gate))
		if err == nil {
			break
		}
		wait := pace(fastestDial, slowestDial)
		if waited := time.Since(began); waited > thirdPhase {
			wait = thirdDial
		} else if waited > secondPhase {
			wait = secondDial
		}
		if ended := sleep(ctx, wait); ended != nil {
			return errors.Join(ended, err)
		}
	}
	slowest := cmp.Or(p.probe.Period, slowestProbe)
	for successes := 0; ; {
		err := p.Check(ctx)
		if err != nil {
			successes = 0
		} else if successes++; successes >= p.probe.SuccessThreshold {
			return nil
		}
		if ended := sleep(ctx, pace(fastestProbe, slowest)); ended != nil {
			return errors.Join(ended, err)
		}
	}
}

// Watch probes once a period (10 s if the probe has none) and reports when the outcome changes from ok: to false after as many failures in
// a row as the failure threshold, to true after as many successes as the success threshold. It returns when the context ends. It calls
// report in its own goroutine.
func (p *Prober) Watch(ctx context.Context, ok bool, report func(ok bool, why error)) {
	row := 0 // probes in a row that contradict ok
	for sleep(ctx, p.period()) == nil {
		err := p.Check(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err == nil) == ok {
			row = 0
			continue
		}
		threshold := p.probe.FailureThreshold
		if err == nil {
			threshold = p.probe.SuccessThreshold
		}
		if row++; row >= threshold {
			row, ok = 0, !ok
			report(ok, err)
		}
	}
}

// Check probes once, with the probe's timeout.
func (p *Prober) Check(ctx context.Context) error {
	return p.note(ctx, p.checker.bounded(ctx, p.probe.Timeout))
}

// LastError returns why the last probe failed, nil when it succeeded or there has been none.
func (p *Prober) LastError() error {
	if err := p.last.Load(); err != nil {
		return *err
	}
	return nil
}

// note keeps the outcome of a probe. One that the end of ctx cut off says nothing of the application.
func (p *Prober) note(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || p.last.Load() == nil {
		p.last.Store(&err)
	}
	return err
}

// Ready is for Options.Ready. As Knative's queue-proxy does, it probes once, or, when the probe has no period, until success for at most
// 10 s. Concurrent callers share one execution.
func (p *Prober) Ready(ctx context.Context) error {
	result := p.shared.DoChan("", func() (any, error) {
		// Not the caller's context: the other callers may wait longer.
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), awaitReady)
		defer cancel()
		if p.probe.Period == 0 {
			return nil, p.await(shared)
		}
		return nil, p.Check(shared)
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sleep waits, and returns the cause if the context ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
