package envoy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/test/output"
)

// supervised is an Envoy (a fake one) that is being supervised.
type supervised struct {
	t      *testing.T
	dir    string
	cancel context.CancelFunc
	ended  chan error
	ready  chan struct{}
	log    *output.Buffer
	file   *output.Buffer
}

func supervise(t *testing.T, mode string, drain time.Duration) *supervised {
	s := &supervised{t: t, dir: t.TempDir(), ended: make(chan error, 1), ready: make(chan struct{}, 10), log: &output.Buffer{},
		file: &output.Buffer{}}
	if err := os.WriteFile(filepath.Join(s.dir, "mode"), []byte(mode), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	admin := "unix:" + filepath.Join(s.dir, "admin.sock")
	go func() {
		s.ended <- envoy.Run(ctx, envoy.Supervise{
			Path: os.Args[0], Dir: s.dir, Bootstrap: mustBootstrap(admin), Admin: admin, Drain: drain,
			Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: s.log}), Log: s.file,
			Ready: func() { s.ready <- struct{}{} },
		})
	}()
	t.Cleanup(cancel)
	return s
}

func (s *supervised) awaitReady() {
	s.t.Helper()
	select {
	case <-s.ready:
	case err := <-s.ended:
		s.t.Fatalf("the supervision ended before Envoy was ready: %v", err)
	case <-time.After(30 * time.Second):
		s.t.Fatalf("Envoy is not ready; the log:\n%s", s.log)
	}
}

// stop ends the supervision.
func (s *supervised) stop() {
	s.t.Helper()
	s.cancel()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		s.t.Fatalf("the supervision does not end; the log:\n%s", s.log)
	}
}

// record is what happened to the fake, without its pids.
func record(dir string) []string {
	text, _ := os.ReadFile(filepath.Join(dir, "record"))
	var events []string
	for line := range strings.Lines(string(text)) {
		event := strings.TrimSpace(line)
		if strings.HasPrefix(event, "started") {
			event = "started"
		}
		events = append(events, event)
	}
	return events
}

// pid is that of the last fake.
func pid(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, "record"))
	last := 0
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "started %d", &last)
	}
	return last
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestEnvoyIsDrainedBeforeItEnds(t *testing.T) {
	t.Parallel()
	s := supervise(t, "", time.Minute)
	s.awaitReady()
	if info, err := os.Stat(filepath.Join(s.dir, "envoy.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bootstrap is %v, %v; want a file for its owner alone", info, err)
	}
	s.stop()
	want := "started,POST /drain_listeners,POST /healthcheck/fail,SIGTERM"
	if got := strings.Join(record(s.dir), ","); got != want {
		t.Errorf("Envoy saw %s, want %s", got, want)
	}
	if p := pid(s.dir); !gone(p) {
		t.Errorf("Envoy, process %d, is left over", p)
	}
}

func TestRequestsInProgressMayFinish(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"busy", "slow client", "stumbling"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := supervise(t, mode, time.Minute)
			s.awaitReady()
			s.cancel()
			await(t, "Envoy is asked for its requests", func() bool {
				return strings.Contains(strings.Join(record(s.dir), ","),
					"asked while busy")
			})
			if strings.Contains(strings.Join(record(s.dir), ","), "SIGTERM") {
				t.Error("Envoy is ended while a request may be in progress")
			}
			if err := os.WriteFile(filepath.Join(s.dir, "finished"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s.stop()
		})
	}
}

func TestTheDrainIsBounded(t *testing.T) {
	t.Parallel()
	s := supervise(t, "busy", 300*time.Millisecond)
	s.awaitReady()
	s.stop()
	if !strings.Contains(s.log.String(), "requests in envoy were cut off") {
		t.Errorf("the log does not say that requests were cut:\n%s", s.log)
	}
}

func TestAnEnvoyThatIgnoresSIGTERMIsKilled(t *testing.T) {
	t.Parallel()
	s := supervise(t, "deaf", time.Second)
	s.awaitReady()
	s.stop()
	if p := pid(s.dir); !gone(p) {
		t.Errorf("Envoy, process %d, is left over", p)
	}
}

func TestAnEnvoyThatEndsIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := supervise(t, "crash", time.Second)
	s.awaitReady()
	if err := syscall.Kill(pid(s.dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.awaitReady()
	s.stop()
	if got := strings.Count(strings.Join(record(s.dir), ","), "started"); got != 4 {
		t.Errorf("Envoy was started %d times, want 4: two crashes, one kill", got)
	}
}

func TestAnEnvoyThatWasReadyIsStartedAgainWithoutEnd(t *testing.T) {
	t.Parallel()
	s := supervise(t, "crash later", time.Second)
	s.awaitReady()
	if err := syscall.Kill(pid(s.dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.awaitReady() // after four that ended at once, so that five have ended in a row
	s.stop()
}

func TestAnEnvoyThatIsNeverReadyEndsTheSupervision(t *testing.T) {
	t.Parallel()
	s := supervise(t, "crash always", time.Second)
	select {
	case err := <-s.ended:
		for _, want := range []string{
			"ended 5 times before it was ready", "exit status 1", "in two lines\n", "envoy bug failure: another.",
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error that says %q", err, want)
			}
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the supervision does not end")
	}
	if got := len(record(s.dir)); got != 5 {
		t.Errorf("Envoy was started %d times, want 5", got)
	}
}

func TestWhatEnvoyWritesIsLogged(t *testing.T) {
	t.Parallel()
	s := supervise(t, "", time.Second)
	s.awaitReady()
	s.stop()
	log := s.log.String()
	for _, want := range []string{
		"[WARN]  xxx", "not in the form of the log",
		"[WARN]  a warning of the fake: logger=config lines=\"in two lines\"\n",
		"[ERROR] envoy bug failure: false.: logger=envoy_bug\n  lines=\n  | stacktrace for envoy bug\n  | #0 UNKNOWN [0x1]\n",
		"[ERROR] envoy bug failure: another.: logger=envoy_bug\n",
		`access: {"path":"/"}`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, strings.ReplaceAll(log, "xxxxxxxx", ""))
		}
	}
	if strings.Contains(log, "extensions") || strings.Contains(log, "no more of this") || strings.Contains(log, "SIGTERM") {
		t.Errorf("the log has what is of no concern at its level:\n%s", strings.ReplaceAll(log, "xxxxxxxx", ""))
	}
	if n := strings.Count(log, "x"); n > 20_000 {
		t.Errorf("a line of 100,000 is logged with %d, want it cut", n)
	}
	if !strings.Contains(s.file.String(), fakeLog) {
		t.Errorf("the file lacks the log as it was written:\n%.2000s", s.file)
	}
}

func TestAnEnvoyThatCannotBeStartedIsAnError(t *testing.T) {
	t.Parallel()
	err := envoy.Run(t.Context(), envoy.Supervise{Path: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "starting Envoy") {
		t.Errorf("got %v, want an error about starting", err)
	}
}

// TestEnvoyEndsWithItsSupervisor kills the supervisor, which leaves it no time to end anything.
func TestEnvoyEndsWithItsSupervisor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "SUPERVISOR_DIR="+dir)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	await(t, "the supervisor starts Envoy", func() bool { return pid(dir) != 0 })
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait()
	await(t, "Envoy ends with its supervisor", func() bool { return gone(pid(dir)) || zombie(pid(dir)) })
}

// zombie reports whether a process has ended and waits to be reaped, which does not happen where there is no init.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	onPath, named := filepath.Join(dir, "envoy"), filepath.Join(dir, "other")
	for _, file := range []string{onPath, named} {
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("ENVOY_BIN", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := envoy.Find(""); !errors.Is(err, envoy.ErrNotInstalled) {
		t.Errorf("got %v, want ErrNotInstalled", err)
	}
	if _, err := envoy.Find("/no/such/envoy"); err == nil || errors.Is(err, envoy.ErrNotInstalled) {
		t.Errorf("got %v, want an error about the one that was named", err)
	}
	t.Setenv("PATH", dir)
	if got, err := envoy.Find(""); err != nil || got != onPath {
		t.Errorf("got %q, %v, want the one on PATH", got, err)
	}
	t.Setenv("ENVOY_BIN", named)
	if got, err := envoy.Find(""); err != nil || got != named {
		t.Errorf("got %q, %v, want the one in ENVOY_BIN", got, err)
	}
	if got, err := envoy.Find(onPath); err != nil || got != onPath {
		t.Errorf("got %q, %v, want the one that was named", got, err)
	}
}
