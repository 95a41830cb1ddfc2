package feature

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/test/plane"
)

// storeFailure is a way for the store to fail, and how the test causes it.
type storeFailure struct {
	says  string // in the API's error
	begin func(t *testing.T, s *instance)
	end   func(t *testing.T, s *instance)
}

// TestServicesGoOnWithoutTheStore makes the store fail under load, wakes a service at zero, and repairs the store.
func TestServicesGoOnWithoutTheStore(t *testing.T) {
	for name, f := range map[string]storeFailure{
		"files gone": {"is gone although it was in use", hideFiles, showFiles},
		"no writing": {"etcd", func(t *testing.T, s *instance) { limitFiles(t, s, 0) },
			func(t *testing.T, s *instance) { limitFiles(t, s, unix.RLIM_INFINITY) }},
	} {
		t.Run(name, func(t *testing.T) {
			onEachGateway(t, func(t *testing.T, g gateway) {
				goOnWithoutTheStore(t, g.prepare(t, "--config", zeroInitialScale(t)), f)
			})
		})
	}
}

// TestServicesGoOnWithAFullDisk is the same on a small disk, if this user may make one.
func TestServicesGoOnWithAFullDisk(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.prepare(t, "--config", zeroInitialScale(t))
		data := filepath.Join(s.dir, ".sluice")
		if err := os.Mkdir(data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=200m"); err != nil {
			t.Skipf("skipped: no disk of our own: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(data, unix.MNT_DETACH) })
		goOnWithoutTheStore(t, s, storeFailure{"make room", fillDisk, emptyDisk})
	})
}

func goOnWithoutTheStore(t *testing.T, s *instance, f storeFailure) {
	s.start()
	t.Cleanup(func() { s.stop() })
	sleeper := newApp(t, "sleeper", map[string]string{autoscaling + "initial-scale": "0"})
	s.create(newApp(t, "hello", map[string]string{autoscaling + "min-scale": "1"}), sleeper)
	l := s.startLoad(host, 4)
	l.reaches(t, 50)
	f.begin(t, s)
	eventually(t, "the API says what is wrong", func() error {
		o := newApp(t, "large-"+strings.ToLower(rand.Text()), map[string]string{"text": strings.Repeat(rand.Text(), 8000)})
		o.Spec.Template.Metadata.Annotations[autoscaling+"initial-scale"] = "0"
		err := s.Create(t.Context(), o) // until the store's log needs another file
		if err == nil || !strings.Contains(err.Error(), f.says) {
			return fmt.Errorf("it says %w", err)
		}
		return nil
	})
	l.reaches(t, l.soFar()+100)
	if status, body, err := s.get("sleeper.default.localhost", "/"); err != nil || status != 200 {
		t.Errorf("a service at zero answers %d, %v: %s", status, err, body)
	}
	f.end(t, s)
	eventually(t, "the API accepts writes again", func() error {
		err := s.Create(t.Context(), newApp(t, "other", nil))
		if err != nil && strings.Contains(err.Error(), "already exists") {
			return nil
		}
		return err
	})
	eventually(t, "other is ready", func() error {
		o := &servingv1.Service{}
		// A read that was under way when the store came back may still fail.
		if err := s.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: "other"}, o); err != nil {
			return err
		}
		return plane.Unready(o)
	})
	s.scaledTo("sleeper-00001", 1)
	l.reaches(t, l.soFar()+100)
	if answered, failed := l.stop(); len(failed) > 0 {
		t.Errorf("%d requests were answered and %d failed: %s", answered, len(failed), failed[0])
	}
}

// storeProcess returns the pid of the instance's store.
func (s *instance) storeProcess(t *testing.T) int {
	t.Helper()
	pid := 0
	eventually(t, "the store runs", func() error {
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		for _, e := range entries {
			line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")) // it may have ended
			if strings.Contains(string(line), "\x00store\x00--dir\x00"+s.dir+"/") {
				pid, err = strconv.Atoi(e.Name())
				return err
			}
		}
		return errors.New("there is no such process")
	})
	return pid
}

func (s *instance) killStore(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(s.storeProcess(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func (s *instance) rename(t *testing.T, from, to string) {
	t.Helper()
	data := filepath.Join(s.dir, ".sluice")
	if err := os.Rename(filepath.Join(data, from), filepath.Join(data, to)); err != nil {
		t.Fatal(err)
	}
}

func hideFiles(t *testing.T, s *instance) {
	s.rename(t, "etcd", "away")
	s.killStore(t)
}

func showFiles(t *testing.T, s *instance) { s.rename(t, "away", "etcd") }

// limitFiles limits the size of files that sluice, or a process that it starts, may write.
func limitFiles(t *testing.T, s *instance, bytes uint64) {
	t.Helper()
	if err := unix.Prlimit(s.process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}, nil); err != nil {
		t.Fatal(err)
	}
	if bytes == 0 {
		s.killStore(t)
	}
}

func filler(s *instance) string { return filepath.Join(s.dir, ".sluice", "filler") }

// fillDisk fills the disk and makes the store need space: the store extends its files from time to time, and when it starts.
func fillDisk(t *testing.T, s *instance) {
	t.Helper()
	f, err := os.Create(filler(s))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<16); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	s.killStore(t)
}

func emptyDisk(t *testing.T, s *instance) {
	t.Helper()
	if err := os.Remove(filler(s)); err != nil {
		t.Fatal(err)
	}
}

// TestStopEndsWithAStoreThatHangs: a store that hangs does not keep `sluice up` from ending.
func TestStopEndsWithAStoreThatHangs(t *testing.T) {
	t.Parallel()
	s := up(t)
	if err := syscall.Kill(s.storeProcess(t), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.stop() // fails the test if it takes too long
}

// TestStopEndsAStartThatHangs: the store waits for files that another process has locked.
func TestStopEndsAStartThatHangs(t *testing.T) {
	t.Parallel()
	s := builtin.prepare(t)
	dir := filepath.Join(s.dir, ".sluice", "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s.launch()
	s.storeProcess(t)
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0:\n%s", code, s.printed())
	}
}

// TestServicesGoOnWithoutDescriptors: `sluice up` cannot open anything new, and running services go on.
func TestServicesGoOnWithoutDescriptors(t *testing.T) {
	onEachGateway(t, func(t *testing.T, g gateway) {
		s := g.up(t)
		s.create(newApp(t, "hello", map[string]string{autoscaling + "min-scale": "1"}))
		l := s.startLoad(host, 4)
		l.reaches(t, 50)
		var was unix.Rlimit
		limit := func(n uint64) {
			if err := unix.Prlimit(s.process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Prlimit(s.process.Pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
			t.Fatal(err)
		}
		limit(10) // open descriptors stay open
		if err := s.Create(t.Context(), newApp(t, "other", nil)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new Service says what the machine lacks", func() error {
			if c := s.service("other").Status.Condition(servingv1.ConditionReady); c == nil ||
				!strings.Contains(c.Message, "too many open files") {
				return fmt.Errorf("its condition is %+v", c)
			}
			return nil
		})
		l.reaches(t, l.soFar()+100)
		limit(was.Cur)
		s.ready("other")
		if answered, failed := l.stop(); len(failed) > 0 {
			t.Errorf("%d requests were answered and %d failed: %s", answered, len(failed), failed[0])
		}
	})
}
