package feature

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/realenvoy"
)

// gateway is a data plane that requests go through.
type gateway struct {
	name  string
	envoy func(testing.TB) string // finds the Envoy that it is; nil for the built-in gateway
}

var (
	builtin   = gateway{name: "builtin"}
	realEnvoy = gateway{name: "envoy", envoy: realenvoy.Find}
)

// gateways are those of onEachGateway.
var gateways = []gateway{builtin, realEnvoy}

// onEachGateway runs a test of what requests see with every gateway, in parallel.
func onEachGateway(t *testing.T, test func(t *testing.T, g gateway)) {
	t.Parallel()
	for _, g := range gateways {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			if g.envoy != nil {
				g.envoy(t) // or skip the test
			}
			test(t, g)
		})
	}
}

// flags have `sluice up` run the gateway.
func (g gateway) flags(t testing.TB) []string {
	if g.envoy == nil {
		return []string{"--gateway", "builtin"}
	}
	return []string{"--gateway", "envoy", "--envoy", g.envoy(t)}
}

// beside starts the gateway as a process of its own, which connects to the xDS server at an address. When that is empty, the flags name
// the server. The test may end before the gateway is ready.
func (g gateway) beside(t testing.TB, xds string, flags ...string) *part {
	t.Helper()
	p := newPart(t, g.name)
	flags = append([]string{"--admin", p.admin, "--node-id", "gateway-" + p.admin}, flags...)
	if xds != "" {
		flags = append(flags, "--xds", xds)
	}
	if g.envoy == nil {
		p.launch(sluiceBinary, append([]string{"gateway"}, flags...)...)
		return p
	}
	bootstrap, err := exec.Command(sluiceBinary, append([]string{"bootstrap"}, flags...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	p.envoy = true
	p.launch(g.envoy(t), "-c", file, "--disable-hot-restart")
	return p
}

// contented fails the test if an Envoy has complained in its log or its statistics.
func contented(t testing.TB, log, stats string) {
	t.Helper()
	if all := realenvoy.Complaints(log, stats, realenvoy.Disconnected); len(all) > 0 {
		t.Errorf("Envoy complains of %d things:\n%s", len(all), strings.Join(all, "\n"))
	}
}

// up starts `sluice up` with the gateway in an empty folder, and waits until it is ready.
func (g gateway) up(t testing.TB, args ...string) *instance {
	t.Helper()
	s := g.prepare(t, args...)
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// prepare makes an instance of the binary that has not been started. Under the race detector, which does not see the binary, it skips the
// test.
func (g gateway) prepare(t testing.TB, args ...string) *instance {
	t.Helper()
	if raceDetector {
		t.Skip("skipped: the race detector does not look into the binary under test")
	}
	return g.instance(t, args...)
}

// instance makes an instance that has not been started.
func (g gateway) instance(t testing.TB, args ...string) *instance {
	t.Helper()
	s := &instance{
		t: t, run: runBinary, dir: shortDir(t), gateway: address.Free(t), admin: address.Free(t), xds: address.Free(t),
		local: address.Free(t),
	}
	s.flags = append([]string{
		"up", "--http", s.gateway, "--admin", s.admin, "--xds", s.xds,
		"--api", address.Free(t), "--local", s.local, "--activator", address.Free(t),
	}, append(g.flags(t), args...)...)
	s.envoy = g.envoy != nil && !strings.Contains(strings.Join(args, " "), "--gateway none")
	return s
}

// shortDir makes an empty folder whose path is short enough for sockets in it, whatever the name of the test.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-up-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the folder for temporary files
	return dir
}

// up starts the binary for tests that are not about gateways. Tests that need no process of their own use embed.
func up(t testing.TB, args ...string) *instance {
	t.Helper()
	return builtin.up(t, args...)
}
