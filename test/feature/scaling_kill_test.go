package feature

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/test/address"
)

// pidsOf returns the processes of a revision, from their records.
func (s *instance) pidsOf(revision string) []int {
	s.t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, ".sluice", "processes", "*.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	var pids []int
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just ended
		}
		var record struct {
			PID      int
			Revision string
		}
		if err == nil && len(text) > 0 {
			err = json.Unmarshal(text, &record)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if record.Revision == revision {
			pids = append(pids, record.PID)
		}
	}
	return pids
}

// running waits until so many replicas of a revision run and are ready.
func (s *instance) running(service string, n int) []int {
	s.t.Helper()
	var pids []int
	eventually(s.t, fmt.Sprintf("%d replicas of %s run", n, service), func() error {
		pids = s.pidsOf("default/" + service + "-00001")
		if len(pids) != n {
			return fmt.Errorf("%d run", len(pids))
		}
		return nil
	})
	return pids
}

// lives pauses the test while the load goes on.
func lives(l *salvo, requests int) {
	l.mu.Lock()
	until := len(l.shots) + requests
	l.mu.Unlock()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		n := len(l.shots)
		l.mu.Unlock()
		if n >= until {
			return
		}
	}
}

// verdict is the outcome of a salvo.
type verdict struct {
	requests int
	failed   []shot
}

// judge stops a salvo and finds the requests that failed. The app must not have begun any POST twice.
func (l *salvo) judge(t *testing.T, j func() journal) verdict {
	t.Helper()
	v := verdict{}
	shots := l.stop()
	v.requests = len(shots)
	found := j()
	for _, x := range shots {
		if n := len(found.began[x.id]); x.method == http.MethodPost && n > 1 {
			t.Errorf("%s: the app has begun it %d times", x, n)
		}
		if x.failed() {
			v.failed = append(v.failed, x)
		}
	}
	return v
}

// victim makes a Service of three replicas that keep a journal, and returns a function that reads the journal.
func (s *instance) victim(burst string, concurrency int64) func() journal {
	s.t.Helper()
	folder := s.t.TempDir()
	o := newApp(s.t, "victim", map[string]string{
		"autoscaling.knative.dev/min-scale": "3", "autoscaling.knative.dev/max-scale": "3",
		"autoscaling.knative.dev/target-burst-capacity": burst,
	}, "MS", "5", "JOURNAL", folder, "LAME_DUCK", "5000") // longer than a queue-proxy keeps a connection, even on a busy machine
	o.Spec.Template.Spec.ContainerConcurrency = new(concurrency)
	s.create(o)
	s.running("victim", 3)
	return func() journal { return readJournal(s.t, folder) }
}

const victimHost = "victim.default.localhost"

// paths are the ways that requests take to a replica.
var paths = []struct {
	name, burst string
	concurrency int64
}{{"direct", "0", 0}, {"queue-proxy with a limit", "0", 2}, {"activator", "-1", 2}}

func TestKilledReplicaFailsOnlyWhatWasInIt(t *testing.T) {
	onEachGateway(t, killedReplicaFailsOnlyWhatWasInIt)
}

func killedReplicaFailsOnlyWhatWasInIt(t *testing.T, g gateway) {
	for _, c := range paths {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := g.up(t)
			read := s.victim(c.burst, c.concurrency)
			l := s.startSalvo(victimHost, "", 12)
			killed := map[int]span{}
			for range 6 {
				lives(l, 300)
				pid := s.running("victim", 3)[0]
				began := time.Now()
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Error(err)
				}
				killed[pid] = span{began, gone(t, pid)}
			}
			lives(l, 300)
			v := l.judge(t, read)
			t.Logf("%d requests, %d of them failed in %d kills", v.requests, len(v.failed), len(killed))
			j := read()
			for _, x := range v.failed {
				if !inside(x, j, killed) {
					t.Errorf("%s, begun by %v", x, j.began[x.id])
				}
			}
		})
	}
}

// span is the interval in which a process was killed.
type span struct{ began, ended time.Time }

func (s span) meets(x shot) bool { return !x.began.After(s.ended) && !x.ended.Before(s.began) }

// inside reports whether a request was in a process when that was killed: the process had begun it, or the queue-proxy says that it
// had sent the request to the process.
func inside(x shot, j journal, killed map[int]span) bool {
	for _, pid := range j.began[x.id] {
		if at, ok := killed[pid]; ok {
			return at.meets(x)
		}
	}
	for _, at := range killed {
		if at.meets(x) && x.status == http.StatusBadGateway && x.reason == "Unreachable" {
			return len(j.began[x.id]) == 0
		}
	}
	return false
}

// gone waits until a process has ended and returns the time.
func gone(t *testing.T, pid int) time.Time {
	t.Helper()
	eventually(t, "the process ends", func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d still runs", pid)
		}
		return nil
	})
	return time.Now()
}

func TestTerminatedReplicaFailsNothing(t *testing.T) { onEachGateway(t, terminatedReplicaFailsNothing) }

func terminatedReplicaFailsNothing(t *testing.T, g gateway) {
	for _, c := range paths {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := g.up(t)
			read := s.victim(c.burst, c.concurrency)
			l := s.startSalvo(victimHost, "", 12)
			for range 4 {
				lives(l, 300)
				pid := s.running("victim", 3)[0]
				if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				gone(t, pid)
			}
			lives(l, 300)
			v := l.judge(t, read)
			t.Logf("%d requests", v.requests)
			for _, x := range v.failed {
				t.Errorf("%s, begun by %v", x, read().began[x.id])
			}
		})
	}
}

func TestEndedGatewayProcessFailsOnlyWhatWasInIt(t *testing.T) {
	onEachGateway(t, endedGatewayProcessFailsOnlyWhatWasInIt)
}

func endedGatewayProcessFailsOnlyWhatWasInIt(t *testing.T, g gateway) {
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}
	if g.envoy != nil {
		signals = signals[:1] // Envoy drains by its admin interface, and cuts requests off on SIGTERM
	}
	for _, signal := range signals {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			const connections = 12
			s := g.up(t, "--gateway", "none")
			gateway := g.beside(t, s.socket()).ready()
			read := s.victim("0", 0)
			l := s.startSalvo(victimHost, "", connections)
			var ends []span
			for range 6 {
				lives(l, 300)
				ends = append(ends, gateway.end(signal))
				gateway = g.beside(t, s.socket()).ready()
			}
			lives(l, 300)
			v := l.judge(t, read)
			gateway.end(syscall.SIGTERM)
			t.Logf("%d requests, %d of them failed in %d ends of the gateway", v.requests, len(v.failed), len(ends))
			account(t, v.failed, ends, signal, func(x shot) bool { return x.status == 0 })
		})
	}
}

// account checks that each failure belongs to a process that was killed: it came during a SIGKILL, with the error that the next hop
// reports for that.
func account(t *testing.T, failed []shot, ends []span, signal syscall.Signal, seen func(shot) bool) {
	t.Helper()
	for _, x := range failed {
		in := slices.ContainsFunc(ends, func(e span) bool { return e.meets(x) })
		if signal != syscall.SIGKILL || !in || !seen(x) {
			t.Errorf("%s", x)
		}
	}
}

func TestEndedActivatorProcessFailsOnlyWhatWasInIt(t *testing.T) {
	onEachGateway(t, endedActivatorProcessFailsOnlyWhatWasInIt)
}

func endedActivatorProcessFailsOnlyWhatWasInIt(t *testing.T, g gateway) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			const connections = 12
			s := g.up(t, "--activator", "none")
			addresses := [2]string{address.Free(t), address.Free(t)}
			start := func(i int) *part {
				return startActivator(t, s.socket(), addresses[i]).ready()
			}
			activators := [2]*part{start(0), start(1)}
			read := s.victim("-1", 2)
			through := s.startSalvo(victimHost, "", connections)
			var direct [2]*salvo // to one activator each
			for i := range direct {
				direct[i] = &salvo{address: addresses[i], host: victimHost, tag: fmt.Sprint("direct", i, "-"), headers: map[string]string{
					"Knative-Serving-Namespace": "default", "Knative-Serving-Revision": "victim-00001",
				}}
				if signal == syscall.SIGKILL { // SIGTERM would wait for clients that still use a removed activator
					direct[i].begin(3)
				}
			}
			var ends [2][]span
			for n := range 6 {
				lives(through, 300)
				ends[n%2] = append(ends[n%2], activators[n%2].end(signal))
				lives(through, 100)
				activators[n%2] = start(n % 2)
			}
			lives(through, 300)
			v := through.judge(t, read)
			t.Logf("%d requests, %d of them failed in 6 ends of an activator", v.requests, len(v.failed))
			account(t, v.failed, append(ends[0], ends[1]...), signal, func(x shot) bool {
				return x.status == 503 && (x.reason == "UC" || strings.HasSuffix(x.reason, "reset reason: connection termination"))
			})
			for i := range direct {
				if signal != syscall.SIGKILL {
					activators[i].end(syscall.SIGTERM)
					continue
				}
				v := direct[i].judge(t, read)
				t.Logf("%d requests to activator %d, %d of them failed in its 3 ends", v.requests, i, len(v.failed))
				account(t, v.failed, ends[i], signal, func(x shot) bool { return x.status == 0 })
				activators[i].end(syscall.SIGTERM)
			}
		})
	}
}

func TestActivatorsThatShareARevisionKeepItsLimit(t *testing.T) {
	onEachGateway(t, activatorsThatShareARevisionKeepItsLimit)
}

func activatorsThatShareARevisionKeepItsLimit(t *testing.T, g gateway) {
	s := g.up(t, "--activator", "none")
	for range 2 {
		startActivator(t, s.socket(), address.Free(t)).ready()
	}
	o := newApp(t, "victim", map[string]string{
		"autoscaling.knative.dev/min-scale": "4", "autoscaling.knative.dev/max-scale": "4",
		"autoscaling.knative.dev/target-burst-capacity": "-1",
	}, "MS", "2", "LIMIT", "1") // it answers 500 to a second concurrent request
	o.Spec.Template.Spec.ContainerConcurrency = new(int64(1))
	s.create(o)
	s.running("victim", 4)
	l := s.startSalvo(victimHost, "", 40)
	lives(l, 2000)
	shots := l.stop()
	for _, x := range shots {
		if x.failed() {
			t.Errorf("%s", x)
		}
	}
	t.Logf("%d requests", len(shots))
}
