// Package podprocess finds processes of pods on this machine, for tests that kill them. It finds none where the nodes of the cluster are other
// machines. It must know nothing of Sluice.
package podprocess

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Find returns the id of a process in the pod with a UID that runs a program, by the name that the kernel keeps of it. It is 0 when there is
// none on this machine.
func Find(pod, program string) int {
	all, _ := os.ReadDir("/proc") // there is none on other systems
	for _, entry := range all {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		name, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm")) // processes come and go
		groups, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup"))
		if strings.TrimSpace(string(name)) == program && strings.Contains(strings.ReplaceAll(string(groups), "_", "-"), pod) {
			return pid
		}
	}
	return 0
}
