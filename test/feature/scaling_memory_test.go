package feature

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/test/address"
)

// BenchmarkActivatorMemory measures the anonymous resident memory of an activator's process: at rest, with 1,000 idle connections after
// a request each, and with 1,000 requests that it holds, each on its own connection.
func BenchmarkActivatorMemory(b *testing.B) {
	const connections = 1000
	for b.Loop() {
		s := up(b, "--activator", "none", "--log-level", "warn")
		address := address.Free(b)
		activator := startActivator(b, s.socket(), address, "--log-level", "warn").ready()
		pid := activator.cmd.Process.Pid
		rest := residentOf(b, pid)
		busy := newApp(b, "busy", map[string]string{autoscaling + "max-scale": "1", autoscaling + "target-burst-capacity": "-1"},
			"MS", "600000")
		busy.Spec.Template.Spec.ContainerConcurrency = new(int64(1))
		free := newApp(b, "free", map[string]string{autoscaling + "max-scale": "1", autoscaling + "target-burst-capacity": "-1"})
		s.create(busy, free)
		conns := make([]net.Conn, connections)
		for i := range conns {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			conns[i] = conn
			ask(b, conn, "free-00001")
			if n, err := conn.Read(make([]byte, 4096)); err != nil || n == 0 {
				b.Fatal(err)
			}
		}
		idle := residentOf(b, pid)
		for _, conn := range conns {
			ask(b, conn, "busy-00001")
		}
		held := fmt.Sprintf("queue_depth{namespace_name=\"default\",revision_name=\"busy-00001\"} %d\n", connections-1)
		eventually(b, "all are held", func() error {
			metrics, err := activator.read(context.Background(), "/metrics")
			if err == nil && !strings.Contains(metrics, held) {
				err = fmt.Errorf("not yet")
			}
			return err
		})
		b.ReportMetric(rest, "rest-MiB")
		b.ReportMetric(idle, "1000-connections-MiB")
		b.ReportMetric(residentOf(b, pid), "1000-held-MiB")
		for _, conn := range conns {
			conn.Close()
		}
		activator.end(syscall.SIGKILL)
		s.stop()
	}
}

// ask sends a request for a revision as a gateway would.
func ask(b *testing.B, conn net.Conn, revision string) {
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, err := fmt.Fprintf(conn,
		"GET / HTTP/1.1\r\nHost: app.test\r\nKnative-Serving-Namespace: default\r\nKnative-Serving-Revision: %s\r\n\r\n", revision)
	if err != nil {
		b.Fatal(err)
	}
}

// residentOf returns the anonymous resident memory of a process in MiB. The mapped program belongs to the page cache.
func residentOf(b *testing.B, pid int) (mib float64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip("skipped: no /proc to read memory from")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			mib = float64(kib) / 1024
		}
	}
	return mib
}
