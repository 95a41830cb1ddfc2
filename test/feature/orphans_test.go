package feature

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// daemonApp makes a Service with so many replicas, each with a daemon (see testdata/app). Each process of a replica writes a file into
// journal, and each daemon its pid into the file daemons.
func daemonApp(t *testing.T, replicas int) (s *instance, journal, daemons string) {
	t.Helper()
	s = up(t)
	journal, daemons = t.TempDir(), filepath.Join(t.TempDir(), "daemons")
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, pid := range daemonPIDs(t, daemons) {
			if runs(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	scale := strconv.Itoa(replicas)
	s.create(newApp(t, "hello", map[string]string{autoscaling + "min-scale": scale, autoscaling + "max-scale": scale},
		"JOURNAL", journal, "DAEMON", daemons))
	return s, journal, daemons
}

// daemonPIDs returns the pids of all daemons that have been started.
func daemonPIDs(t *testing.T, file string) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// runs reports whether a process runs; one that has ended and was not waited for does not.
func runs(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !strings.Contains(string(status), "\nState:\tZ") && !strings.Contains(string(status), "\nState:\tX")
}

// end waits until processes have ended.
func end(t *testing.T, what string, pids []int) {
	t.Helper()
	eventually(t, what+" end", func() error {
		if i := slices.IndexFunc(pids, runs); i >= 0 {
			return fmt.Errorf("process %d runs", pids[i])
		}
		return nil
	})
}

// awaitDaemons waits until so many daemons have been started, and returns their pids.
func awaitDaemons(t *testing.T, file string, n int) (pids []int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d daemons have started", n), func() error {
		if pids = daemonPIDs(t, file); len(pids) != n {
			return fmt.Errorf("the pids are %v", pids)
		}
		return nil
	})
	return pids
}

// TestNothingOutlivesAKill: without another start, every process of a killed `sluice up` ends.
func TestNothingOutlivesAKill(t *testing.T) {
	t.Parallel()
	s, _, file := daemonApp(t, 2)
	daemons, replicas, store := awaitDaemons(t, file, 2), s.running("hello", 2), s.storeProcess(t)
	for _, pid := range append([]int{store}, append(daemons, replicas...)...) {
		if !runs(pid) {
			t.Fatalf("process %d does not run", pid)
		}
	}
	s.kill()
	end(t, "the replicas", replicas)
	end(t, "the daemons", daemons)
	end(t, "the store", []int{store})
	if records, _ := filepath.Glob(filepath.Join(s.dir, ".sluice", "processes", "*")); len(records) > 0 {
		t.Errorf("records are left: %v", records)
	}
}

// TestNextStartKeepsItsReplicas starts `sluice up` again right after each kill, while the store of the killed one still ends its daemons.
func TestNextStartKeepsItsReplicas(t *testing.T) {
	t.Parallel()
	const replicas = 3
	s, journal, file := daemonApp(t, replicas)
	for round := range 6 {
		store, old := s.storeProcess(t), awaitDaemons(t, file, (round+1)*replicas)
		s.kill()
		s.start()
		l := s.startLoad(host, 4)
		now := s.running("hello", replicas)
		awaitDaemons(t, file, (round+2)*replicas)
		l.reaches(t, 100)
		end(t, "the killed run's daemons", old)
		end(t, "the killed run's store", []int{store})
		l.reaches(t, 200)
		if answered, failed := l.stop(); len(failed) > 0 {
			t.Errorf("round %d: %d requests were answered and %d failed: %s", round, answered, len(failed), failed[0])
		}
		for _, pid := range now {
			if !runs(pid) {
				t.Errorf("round %d: replica %d of the new run has ended", round, pid)
			}
		}
		if began, _ := os.ReadDir(journal); len(began) != (round+2)*replicas {
			t.Errorf("round %d: %d processes of replicas have been started, want %d each round", round, len(began), replicas)
		}
	}
}
