package process_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/process"
)

// recorded returns the pids of the records in a data directory.
func recorded(t *testing.T, dir string) []int {
	t.Helper()
	paths, _ := filepath.Glob(filepath.Join(dir, "processes", "*.json"))
	var pids []int
	for _, path := range paths {
		pid, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".json"))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// TestKillingUsLeavesNoOrphan kills a parent with SIGKILL. The replica ends with it. The replica's own child does not; the
// next Runtime of the same directory ends it.
func TestKillingUsLeavesNoOrphan(t *testing.T) {
	for _, family := range []string{"family", "daemon"} {
		t.Run(family, func(t *testing.T) { killingUsLeavesNoOrphan(t, family) })
	}
}

func killingUsLeavesNoOrphan(t *testing.T, family string) {
	dir, childFile := t.TempDir(), filepath.Join(t.TempDir(), "child")
	t.Setenv("FAMILY", family)
	parent := startParent(t, dir, childFile)
	replicas, child := recorded(t, dir), pidIn(t, childFile)
	if len(replicas) != 1 || !alive(replicas[0]) || !alive(child) {
		t.Fatalf("records of %v, child %d", replicas, child)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	eventually(t, "the replica dies with its parent", func() bool { return !alive(replicas[0]) })
	if !alive(child) {
		t.Skip("the child died too: nothing is left to be found")
	}
	m := newMachine(t, process.Options{Dir: dir})
	eventually(t, "the child is found and ended", func() bool { return !alive(child) })
	m.Run(app("serve", 1))
	m.awaitReady(1)
}

// TestOrphansEndWithoutANextStart: EndOrphans ends what a killed Runtime has left behind, and leaves another Runtime of the directory
// alone, which is what a next start may be.
func TestOrphansEndWithoutANextStart(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FAMILY", "daemon")
	first, second := filepath.Join(t.TempDir(), "child"), filepath.Join(t.TempDir(), "child")
	killed := startParent(t, dir, first)
	owner := process.Identify(killed.Process.Pid)
	replica := recorded(t, dir)[0]
	startParent(t, dir, second)
	_ = killed.Process.Kill()
	_ = killed.Wait()
	process.EndOrphans(dir, owner)
	for what, pid := range map[string]int{"the replica": replica, "its daemon": pidIn(t, first)} {
		if alive(pid) {
			t.Errorf("%s still runs", what)
		}
	}
	left := recorded(t, dir)
	if len(left) != 1 || !alive(left[0]) || !alive(pidIn(t, second)) {
		t.Errorf("of the other Runtime, records of %v are left", left)
	}
}

// TestOrphansOfProbesEnd: a daemon that an exec probe has started ends although its Runtime was killed during the probe.
func TestOrphansOfProbesEnd(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "child")
	t.Setenv("FAMILY", "probe")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), modeVariable+"=parent", "DIR="+dir, "CHILD="+file)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = parent.Process.Kill(); _ = parent.Wait() })
	eventually(t, "the probe has started a daemon", func() bool { text, _ := os.ReadFile(file); return len(text) > 0 })
	owner, child := process.Identify(parent.Process.Pid), pidIn(t, file)
	_ = parent.Process.Kill()
	_ = parent.Wait()
	process.EndOrphans(dir, owner)
	if alive(child) {
		t.Error("the daemon still runs")
	}
}

// TestRecycledPidIsNotKilled: a running process has the pid of a record, but is not the process that was recorded.
func TestRecycledPidIsNotKilled(t *testing.T) {
	bystander := exec.Command("sleep", "3600")
	bystander.SysProcAttr = ownGroup()
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	pid := bystander.Process.Pid
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Skip("no /proc")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "processes"), 0o700); err != nil {
		t.Fatal(err)
	}
	record, _ := json.Marshal(map[string]any{
		"pid": pid, "start": "1", "boot": strings.TrimSpace(string(boot)), "marker": "another", "revision": "default/hello-00001",
	})
	for name, text := range map[string]string{strconv.Itoa(pid): string(record), "1": `{"pid":1}`, "2": "not a record"} {
		if err := os.WriteFile(filepath.Join(dir, "processes", name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, process.Options{Dir: dir})
	m.Run(app("serve", 1)) // runs after the Runtime has read the records
	m.awaitReady(1)
	if !alive(pid) {
		t.Error("the bystander was killed")
	}
	if left := recorded(t, dir); len(left) != 1 {
		t.Errorf("records of %v are left", left)
	}
}

// TestReplicasDoNotEndWithAThread: the Go runtime starts and ends threads, and no replica must end with one of them.
func TestReplicasDoNotEndWithAThread(t *testing.T) {
	m := newMachine(t, process.Options{})
	w := app("serve", 3)
	m.Run(w)
	m.awaitReady(3)
	before := recorded(t, m.dir)
	done := make(chan struct{})
	for range 50 {
		go func() { // a goroutine that ends while locked ends its thread
			runtime.LockOSThread()
			time.Sleep(time.Millisecond)
			done <- struct{}{}
		}()
	}
	for range 50 {
		<-done
	}
	w.Replicas = 4
	m.Run(w)
	m.await("the fourth is ready", func(s model.WorkloadStatus) bool { return len(s.Ready) == 4 })
	for _, pid := range before {
		if !alive(pid) {
			t.Errorf("replica %d died", pid)
		}
	}
}

// pidIn reads a pid that an application has written to a file.
func pidIn(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestDaemonsEndWithTheirReplica: a process that has left the group, the session and the environment of its replica ends with the
// replica, whether the replica is stopped or exits.
func TestDaemonsEndWithTheirReplica(t *testing.T) {
	for _, how := range []string{"stopped", "exited"} {
		t.Run(how, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "child")
			m := newMachine(t, process.Options{})
			w := app("daemon", 1)
			w.Containers[0].Env = append(w.Containers[0].Env, model.EnvVar{Name: "CHILD", Value: file})
			m.Run(w)
			endpoint := m.awaitReady(1)[0]
			child := pidIn(t, file)
			if !alive(child) {
				t.Fatal("the daemon does not run")
			}
			if how == "stopped" {
				w.Replicas = 0
				m.Run(w)
			} else {
				// The application answers nothing.
				_, _ = http.Get("http://" + net.JoinHostPort(endpoint.Host, strconv.Itoa(endpoint.Port)) + "/exit")
			}
			eventually(t, "the daemon has ended", func() bool { return !exists(child) })
		})
	}
}

// TestDaemonsThatEndAreReaped, although their parents have ended before them.
func TestDaemonsThatEndAreReaped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	m := newMachine(t, process.Options{})
	w := app("daemon", 1)
	w.Containers[0].Env = append(w.Containers[0].Env, model.EnvVar{Name: "CHILD", Value: file}, model.EnvVar{Name: "SECONDS", Value: "1"})
	m.Run(w)
	m.awaitReady(1)
	child := pidIn(t, file)
	eventually(t, "nothing of the daemon is left", func() bool { return !exists(child) })
	if len(recorded(t, m.dir)) != 1 {
		t.Error("its replica has ended")
	}
}

// exists reports whether there is a process; a zombie counts.
func exists(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

// TestServiceCannotTakeAnothersMarker: the Runtime kills the processes that have a replica's marker.
func TestServiceCannotTakeAnothersMarker(t *testing.T) {
	m := newMachine(t, process.Options{})
	w := app("serve", 1)
	w.Containers[0].Env = append(w.Containers[0].Env, model.EnvVar{Name: "SLUICE_RUNTIME", Value: "mine"})
	m.Run(w)
	endpoint := m.awaitReady(1)[0]
	response, err := http.Get("http://" + net.JoinHostPort(endpoint.Host, strconv.Itoa(endpoint.Port)) + "/env")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "SLUICE_RUNTIME=mine") || !strings.Contains(string(text), "SLUICE_RUNTIME=") {
		t.Errorf("its environment is %s", text)
	}
}
