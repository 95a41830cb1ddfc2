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

// survivorGrace is the time between SIGTERM and SIGKILL for processes that have survived their Runtime.
const survivorGrace = time.Second

// record identifies a process while it runs. A pid alone does not, since the kernel reuses pids.
type record struct {
	PID int `json:"pid"`
	// Start is when the process started, in clock ticks since boot; Boot identifies that boot.
	Start  string `json:"start"`
	Boot   string `json:"boot"`
	Marker string `json:"marker"`
	// Revision is for those who read the file: what the process is a container or a probe of.
	Revision string `json:"revision"`
	// Owner identifies the process of the Runtime that started this one; see Identify.
	Owner string `json:"owner"`
}

// records is a folder with a record of each process that runs.
type records struct {
	dir    string
	owner  string // identifies this process
	logger hclog.Logger
}

func newRecords(data string, logger hclog.Logger) *records {
	return &records{dir: filepath.Join(data, "processes"), owner: Identify(os.Getpid()), logger: logger}
}

// Identify returns a text that no other process of this boot has. It is empty when there is no such process.
func Identify(pid int) string {
	start := startTime(pid)
	if start == "" {
		return ""
	}
	return strconv.Itoa(pid) + "@" + start
}

// EndOrphans ends the processes that a Runtime has left behind in its data directory because its own process was killed. owner is the
// text of Identify for that process. Processes of other Runtimes of the same directory go on: a later one may have started some already.
func EndOrphans(data, owner string) {
	if owner == "" {
		return
	}
	newRecords(data, hclog.NewNullLogger()).endSurvivors(owner)
}

// write records a process that was just started and returns a function that removes the record. It only logs an error, since
// the process still ends with ours by its parent-death signal.
func (r *records) write(pid int, m marker, revision string) (remove func()) {
	path := filepath.Join(r.dir, strconv.Itoa(pid)+".json")
	text, err := json.Marshal(record{pid, startTime(pid), bootID(), m.String(), revision, r.owner})
	if err == nil {
		err = os.MkdirAll(r.dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		r.logger.Warn("cannot record a process: its descendants would survive a crash", "pid", pid, "error", err)
	}
	return func() { _ = os.Remove(path) }
}

// endSurvivors ends the recorded processes of an owner, or of all owners where it is empty, and their descendants, and removes the
// records.
func (r *records) endSurvivors(owner string) {
	paths, _ := filepath.Glob(filepath.Join(r.dir, "*.json")) // the pattern is well-formed
	var done []string
	left := survivors{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		var old record
		if err == nil {
			err = json.Unmarshal(text, &old)
		}
		if owner != "" && old.Owner != owner {
			continue
		}
		if err != nil {
			r.logger.Warn("cannot read the record of a process", "path", path, "error", err)
		}
		left.add(old)
		done = append(done, path)
	}
	if n := left.end(); n > 0 {
		r.logger.Info("ended processes that have survived an earlier run", "processes", n)
	}
	for _, path := range done {
		_ = os.Remove(path) // if that fails, the next start reads it again
	}
}

// survivors are the markers of families that may have survived, each with the record of its leader.
type survivors map[marker]record

// add adds the family of a record, unless the record cannot be of this boot.
func (s survivors) add(old record) {
	m, err := strconv.ParseUint(old.Marker, 36, 64)
	if old.PID > 1 && old.Boot == bootID() && old.Start != "" && err == nil && m != 0 {
		s[marker(m)] = old
	}
}

// end ends all processes of the families and returns how many it found at first. It sends SIGTERM, and after survivorGrace SIGKILL until
// none is left, since a process may start others meanwhile. It gives up after killTimeout.
func (s survivors) end() int {
	if len(s) == 0 {
		return 0
	}
	pids := s.signal(syscall.SIGTERM)
	deadline := time.Now().Add(survivorGrace)
	for _, pid := range pids {
		for running(pid) && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	for left, deadline := pids, time.Now().Add(killTimeout); len(left) > 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		left = s.signal(syscall.SIGKILL)
	}
	return len(pids)
}

// signal sends a signal to the processes of the families that run, and returns their pids.
func (s survivors) signal(signal syscall.Signal) (pids []int) {
	leaders := make(map[int]string, len(s))
	for _, old := range s {
		leaders[old.PID] = old.Start
	}
	for _, pid := range processes() {
		process, err := os.FindProcess(pid) // refers to this process even if its pid is reused, so the check below stays true
		if err != nil {
			continue
		}
		_, descendant := s[familyOf(pid)]
		if start := leaders[pid]; (descendant || start != "" && start == startTime(pid)) && running(pid) {
			pids = append(pids, pid)
			_ = process.Signal(signal) // fails only if it has ended
		}
		_ = process.Release()
	}
	return pids
}

// environmentMarker returns the marker in the environment of a process; 0 if there is none.
func environmentMarker(pid int) marker {
	environment, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ") // it may have ended
	_, after, _ := strings.Cut("\x00"+string(environment), "\x00"+markerVariable+"=")
	text, _, _ := strings.Cut(after, "\x00")
	m, err := strconv.ParseUint(text, 36, 64)
	if err != nil {
		return 0
	}
	return marker(m)
}
