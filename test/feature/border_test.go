package feature

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/test/address"
)

// What a process of this user finds of a `sluice up`, and what others do not get: docs/security.md has the table.

func TestCommandsFindASluiceByItsDataDirectory(t *testing.T) {
	onEachGateway(t, commandsFindASluiceByItsDataDirectory)
}

func commandsFindASluiceByItsDataDirectory(t *testing.T, g gateway) {
	s := g.up(t, "--gateway", "none", "--activator", "none", "-f", absolute(t, "examples/hello"))
	found := []string{"--data-dir", filepath.Join(s.dir, ".sluice")}
	at := func(args ...string) (string, error) {
		cmd := exec.Command(sluiceBinary, append(args, found...)...)
		cmd.Dir = t.TempDir()
		return combined(cmd)
	}
	if s.stop() != 0 {
		t.Error("it did not end well")
	}
	for _, args := range [][]string{{"xds", "status"}, {"xds", "dump", "gateway"}, {"xds", "diff"}, {"explain", "hello"}} {
		out, err := at(args...)
		if lines := strings.Count(strings.TrimSpace(out), "\n"); err == nil || lines > 0 || !strings.Contains(out, "--data-dir") {
			t.Errorf("without a sluice up %v says, in more than a sentence or without a remedy: %s", args, out)
		}
	}
	// Both may be there before it is.
	activator := newPart(t, "activator")
	activator.launch(sluiceBinary, append([]string{"activator", "--listen", address.Free(t), "--admin", activator.admin}, found...)...)
	activator.says("the xDS server is waited for")
	gateway := g.beside(t, "", found...)
	s.start()
	s.ready("hello")
	s.answers(host, 200)
	gateway.ready()
	activator.ready()
	for _, args := range [][]string{{"xds", "status"}, {"xds", "diff", "--wait", "1m"}, {"explain", "hello"}} {
		if out, err := at(args...); err != nil || strings.Contains(out, "grpc") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	nowhere := t.TempDir()
	for _, command := range []string{"gateway", "activator"} {
		out := refused(t, nowhere, command)
		if _, err := os.Stat(filepath.Join(nowhere, ".sluice")); err == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, "--data-dir") {
			t.Errorf("%s where there is no data directory: %s", command, out)
		}
	}
}

// A local process may connect to the address of the xDS server, which is for gRPC clients.
func TestLocalProcessIsNeitherGatewayNorActivator(t *testing.T) {
	onEachGateway(t, localProcessIsNeitherGatewayNorActivator)
}

func localProcessIsNeitherGatewayNorActivator(t *testing.T, g gateway) {
	s := up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	denied := "PermissionDenied"
	if g.envoy != nil {
		denied = "stream closed: 7, "
	}
	for _, p := range []*part{g.beside(t, s.xds), startActivator(t, s.xds, address.Free(t))} {
		want := denied
		if p.name == "activator" {
			want = "PermissionDenied"
		}
		p.says(want)
		p.says("is for proxyless gRPC clients alone")
	}
	if out, err := combined(exec.Command(sluiceBinary, "xds", "status", "--xds", s.xds)); err == nil || !strings.Contains(out, "--xds-insecure") {
		t.Errorf("anybody is told the status: %v\n%s", err, out)
	}
	status, _ := s.inspect("status")
	if strings.Count(status, "\n") != 3 { // the heading, and what belongs to the instance
		t.Errorf("others are its clients:\n%s", status)
	}
}
