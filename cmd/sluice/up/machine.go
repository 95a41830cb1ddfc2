package up

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	// replicasPlenty is the default for a machine that has room for more.
	replicasPlenty = 500
	// replicaFiles is how many descriptors a replica takes in this process, with the connections to it.
	replicaFiles = 16
	// replicaMemory is how many bytes a small replica takes. What replicas really take is not known when the default is needed.
	replicaMemory = 32 << 20
	// reservedFiles is how many descriptors everything else takes.
	reservedFiles = 2000
)

// mostReplicas is how many replicas this machine runs by default.
func mostReplicas() int {
	most := replicasPlenty
	if files := descriptors(); files > 0 {
		most = min(most, (files-reservedFiles)/2/replicaFiles)
	}
	if bytes := memory(); bytes > 0 {
		most = min(most, bytes/replicaMemory)
	}
	return max(10, most)
}

// heldAtMost is how many requests may wait in the activator beside that many replicas: each takes three descriptors, of the client's
// connection and of both ends of the one from the gateway to the activator. 0 means the activator's default.
func heldAtMost(replicas int) int {
	const each, plenty = 4, 1 << 20
	files := descriptors()
	if files == 0 || files > plenty {
		return 0
	}
	return max(100, (files-reservedFiles-replicas*replicaFiles)/each)
}

// descriptors is how many descriptors this process may have; 0 when that is not known.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<30)) //nolint:gosec // it is bounded
}

// memory is how many bytes the machine has, or its container; 0 when that is not known.
func memory() int {
	most := 0
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kilobytes int
		if n, _ := fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes); n == 1 {
			most = kilobytes << 10
		}
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if bytes, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bytes > 0 && (most == 0 || bytes < most) {
			most = bytes
		}
	}
	return most
}
