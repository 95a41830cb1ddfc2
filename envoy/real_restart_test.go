package envoy_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/output"
	"sluice.dev/sluice/test/realenvoy"
)

// TestHotRestartOfRealEnvoyLosesNothing replaces an Envoy of a user's own by another while requests go on: for a while the server has
// two clients of one node id.
func TestHotRestartOfRealEnvoyLosesNothing(t *testing.T) {
	for _, path := range realenvoy.All(t) {
		t.Run(realenvoy.Name(path), func(t *testing.T) {
			t.Parallel()
			hotRestart(t, path)
		})
	}
}

func hotRestart(t *testing.T, path string) {
	application := httptest.NewServer(http.HandlerFunc(hello))
	t.Cleanup(application.Close)
	dir := t.TempDir()
	r := &real{t: t, gateway: address.Free(t), admin: filepath.Join(dir, "admin.sock")}
	r.xds = serveWorld(t, r.gateway, application.Listener.Addr().(*net.TCPAddr).Port)
	bootstrap, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway-1", XDS: r.xds.address, Admin: "unix:" + r.admin})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(config, bootstrap, 0o600); err != nil {
		t.Fatal(err)
	}
	// A free port of the machine serves as a number that no other Envoy has.
	_, base, _ := net.SplitHostPort(address.Free(t))
	first := startEpoch(t, path, config, base, 0)
	await(t, "the first Envoy serves", func() bool { return r.answer(newClient(t), "/").status == 200 })

	var stop atomic.Bool
	var requests sync.WaitGroup
	failed := make(chan string, 100)
	var count atomic.Int64
	for range 4 {
		client := newClient(t)
		requests.Go(func() {
			for !stop.Load() {
				if a := r.answer(client, "/"); a.status != 200 {
					select {
					case failed <- fmt.Sprintf("%+v %v", a, a.err):
					default:
					}
				}
				count.Add(1)
			}
		})
	}
	startEpoch(t, path, config, base, 1)
	await(t, "the first Envoy ends", func() bool {
		select {
		case <-first:
			return true
		default:
			return false
		}
	})
	before := count.Load()
	await(t, "requests go on without the first Envoy", func() bool { return count.Load() > before+100 })
	r.xds.route("hello.default.localhost", "later.default.localhost")
	await(t, "the second Envoy has what changed", func() bool {
		dump, err := r.ask(http.MethodGet, "/config_dump?resource=dynamic_route_configs")
		return err == nil && strings.Contains(dump, "later.default.localhost")
	})
	stop.Store(true)
	requests.Wait()
	close(failed)
	for f := range failed {
		t.Errorf("a request failed: %s", f)
	}
}

// startEpoch starts an Envoy that takes the place of one of the epoch before, and returns what is closed when it has ended.
func startEpoch(t *testing.T, path, config, base string, epoch int) <-chan struct{} {
	t.Helper()
	log := &output.Buffer{}
	command := exec.Command(path, "-c", config, "--base-id", base, "--restart-epoch", fmt.Sprint(epoch), "--drain-time-s", "1",
		"--parent-shutdown-time-s", "2")
	command.Stderr = log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-ended
		_ = os.Remove(fmt.Sprintf("/dev/shm/envoy_shared_memory_%s0", base)) // Envoy keeps it for its next epoch
		if t.Failed() {
			text := log.String()
			t.Logf("the end of what epoch %d wrote:\n%s", epoch, text[max(0, len(text)-2000):])
		}
	})
	return ended
}

// TestNoClientIsRefusedWhileRealEnvoyIsStartedAgain kills Envoys. What was inside is lost; other connections wait for the next Envoy.
func TestNoClientIsRefusedWhileRealEnvoyIsStartedAgain(t *testing.T) {
	t.Parallel()
	r := startReal(t, setting{application: hello})
	var kills atomic.Int64
	var stop atomic.Bool
	var after, inside atomic.Int64
	failed := make(chan string, 100)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !stop.Load() {
				client := newClient(t)
				before := kills.Load()
				_, body, err := r.get(client, "/")
				client.CloseIdleConnections()
				switch {
				case err == nil && body == host+" hello-00001":
					after.Add(1)
				// It was under way at a kill, or on its way from a client to a socket that the kernel was closing.
				case !errors.Is(err, syscall.ECONNREFUSED) && err != nil && (before%2 == 1 || kills.Load() > before):
					inside.Add(1)
				default:
					select {
					case failed <- fmt.Sprintf("%v %q", err, body):
					default:
					}
				}
			}
		})
	}
	for life := 1; life <= 3; life++ {
		n := after.Load()
		await(t, "requests go on", func() bool { return after.Load() > n+300 })
		kills.Add(1) // odd: an Envoy is being killed
		pids := r.pids()
		if err := syscall.Kill(pids[len(pids)-1], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, "the supervisor says so", func() bool { return strings.Count(r.log.String(), "ended by itself") == life })
		await(t, "connections are passed on", func() bool { return strings.Count(r.log.String(), "passed on") >= life })
		kills.Add(1)
	}
	n := after.Load()
	await(t, "requests go on", func() bool { return after.Load() > n+300 })
	passed := strings.Count(r.log.String(), "passed on")
	n = after.Load()
	await(t, "requests go on", func() bool { return after.Load() > n+1000 })
	if now := strings.Count(r.log.String(), "passed on"); now != passed {
		t.Errorf("%d times connections were passed on while Envoy ran: they must go to it directly", now-passed)
	}
	stop.Store(true)
	clients.Wait()
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	t.Logf("%d requests answered, %d were inside", after.Load(), inside.Load())
}
