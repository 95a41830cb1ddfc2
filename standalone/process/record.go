package process

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// survivorGrace is the time between SIGTERM and SIGKILL for processes that have survived an earlier Runtime.
const survivorGrace = time.Second

// record identifies a process while it runs. A pid alone does not, since the kernel reuses pids.
type record struct {
	PID int `json:"pid"`
	// Start is when the process started, in clock ticks since boot; Boot identifies that boot.
	Start    string `json:"start"`
	Boot     string `json:"boot"`
	Marker   string `json:"marker"`
	Revision string `json:"revision"`
}

// records is a folder with a record of each process that runs.
type records struct {
	dir    string
	logger hclog.Logger
}

// write records a process that was just started and returns a function that removes the record. It only logs an error, since
// the process still ends with ours by its parent-death signal.
func (r *records) write(pid int, m marker, revision string) (remove func()) {
	path := filepath.Join(r.dir, strconv.Itoa(pid)+".json")
	text, err := json.Marshal(record{pid, startTime(pid), bootID(), m.String(), revision})
	if err == nil {
		err = os.MkdirAll(r.dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		r.logger.Warn("cannot record a process: a start after a crash would not find it", "pid", pid, "error", err)
	}
	return func() { _ = os.Remove(path) }
}

// endSurvivors ends the recorded processes and their descendants, and removes the records.
func (r *records) endSurvivors() {
	paths, _ := filepath.Glob(filepath.Join(r.dir, "*.json")) // the pattern is well-formed
	if len(paths) == 0 {
		return
	}
	alive := processes()
	var survivors []*os.Process
	for _, path := range paths {
		text, err := os.ReadFile(path)
		var old record
		if err == nil {
			err = json.Unmarshal(text, &old)
		}
		if err != nil {
			r.logger.Warn("cannot read the record of a process", "path", path, "error", err)
		} else if found := old.survivors(alive); len(found) > 0 {
			r.logger.Info("ending processes that have survived an earlier run",
				"revision", old.Revision, "group", old.PID, "processes", len(found))
			survivors = append(survivors, found...)
		}
	}
	endProcesses(survivors)
	for _, path := range paths {
		_ = os.Remove(path) // if that fails, the next start reads it again
	}
}

// survivors returns handles of the recorded process, known by its start time, and of its descendants, known by their marker.
func (old record) survivors(alive []int) []*os.Process {
	m, err := strconv.ParseUint(old.Marker, 36, 64)
	if old.PID <= 1 || old.Boot != bootID() || old.Start == "" || err != nil || m == 0 {
		return nil
	}
	var found []*os.Process
	for _, pid := range alive {
		process, err := os.FindProcess(pid) // refers to this process even if its pid is reused, so the check below stays true
		if err != nil {
			continue
		}
		if pid == old.PID && startTime(pid) == old.Start || belongs(pid, marker(m)) {
			found = append(found, process)
			continue
		}
		_ = process.Release()
	}
	return found
}

// endProcesses sends SIGTERM, waits up to survivorGrace, and sends SIGKILL.
func endProcesses(processes []*os.Process) {
	for _, p := range processes {
		_ = p.Signal(syscall.SIGTERM) // fails only if it has ended
	}
	deadline := time.Now().Add(survivorGrace)
	for _, p := range processes {
		for running(p.Pid) && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
		_ = p.Kill()
		_ = p.Release()
	}
}

func hasEnvironment(pid int, variable string) bool {
	environment, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && strings.Contains("\x00"+string(environment), "\x00"+variable+"\x00")
}
