package clients

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/realenvoy"
)

// foreign is one kind of client.
type foreign struct {
	name string
	// start connects a client to the xDS server. A proxy listens at the gateway's address, which its listener names.
	start func(t testing.TB, server, gateway string) caller
	// proxy is set for a data plane, to which the test sends HTTP requests. The others are proxyless gRPC clients.
	proxy bool
	// inline is set for a data plane that does not support scopes.
	inline bool
	// redraws is set for a proxy that may retry a call at the same replica.
	redraws bool
	// port is the name of the container's port in the services that it calls.
	port string
	// burst is the target-burst-capacity of services that it calls, by default 0. MOSN takes a cluster's last locality for the whole
	// cluster: with -1 that is the replicas, which come after the activators.
	burst string
	// cannot has the scenarios that the client does not support, with the reason.
	cannot map[string]string
	// own matches errors that the client makes by itself; a comment beside each says why.
	own *regexp.Regexp
	// gone matches the error of a call to a host that was removed.
	gone *regexp.Regexp
}

// foreigners are all clients, with the known limits of each in cannot.
var foreigners = []foreign{
	{
		name: "grpc-go", start: startGRPCGo, port: "h2c",
		// grpc-go puts new routes in force a moment before the balancers of their clusters.
		own:  regexp.MustCompile(`unknown cluster selected for RPC`),
		gone: regexp.MustCompile(`^rpc error: code = Unavailable desc = .*(not found|does not exist|has been removed)`),
	},
	{
		name: "grpc-js", start: startJS, port: "h2c",
		gone: regexp.MustCompile(`^14 UNAVAILABLE: `), // its text only says that no connection was established
	},
	{
		name: "python", start: startPython, port: "h2c",
		gone: regexp.MustCompile(`^UNAVAILABLE: .*does not exist`),
	},
	{
		name: "istio", start: startIstio("wildcard"), port: "h2c",
		gone: regexp.MustCompile(`^no listener `),
	},
	{
		name: "istio-names", start: startIstio("names"), port: "h2c",
		cannot: map[string]string{
			"reconnect": askedOnce, "restart": askedOnce,
		},
		gone: regexp.MustCompile(`^no listener `),
	},
	{
		name: "mosn", start: startMOSN, proxy: true, inline: true, redraws: true, port: "http1", burst: "-1",
		cannot: map[string]string{
			"reconnect": unanswered, "restart": unanswered, "nack": "it acknowledges everything",
			"sleep": "it does not add the headers of a weighted cluster or a route, which name the revision to an activator",
		},
		gone: regexp.MustCompile(`^404`),
	},
	{
		name: "gateway", start: startGateway, proxy: true, port: "http1",
		gone: regexp.MustCompile(`^404`),
	},
	{
		name: "envoy", start: startEnvoy, proxy: true, port: "http1",
		gone: regexp.MustCompile(`^404`),
	},
}

// askedOnce is why istio's client by names cannot reconnect.
const askedOnce = "after a reconnect it does not subscribe again to the names that it had subscribed to"

// unanswered is why MOSN keeps its old configuration after a reconnect. It first subscribes to clusters, and to endpoints, listeners
// and routes after the response. But its request has the version of its clusters, and the server sends no response while that is the
// newest.
const unanswered = "after a reconnect it waits for a change of its clusters before it subscribes to anything else"

// absent skips a test whose client is not installed. In CI the test fails: .ci/run installs all clients.
func absent(t testing.TB, what, remedy string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s; %s", what, remedy)
	}
	t.Skipf("skipped: %s; %s", what, remedy)
}

func startJS(t testing.TB, server, _ string) caller {
	node, err := exec.LookPath("node")
	if err != nil {
		absent(t, "node is not on PATH", "install Node.js to run this test")
	}
	if _, err := os.Stat("js/node_modules/@grpc/grpc-js-xds"); err != nil {
		absent(t, "the packages of test/clients/js are not installed", "run `make clients`, or `npm ci --ignore-scripts` in that folder")
	}
	return startTalker(t, server, node, "js/client.js")
}

// python is the interpreter of Debian's packages, even if another one is on PATH.
const python = "/usr/bin/python3"

func startPython(t testing.TB, server, _ string) caller {
	if err := exec.Command(python, "-c", "import grpc, google.protobuf").Run(); err != nil {
		absent(t, "gRPC's C core is not installed for "+python, "install python3-grpcio and python3-protobuf (Debian) to run this test")
	}
	return startTalker(t, server, python, "python/client.py")
}

// building is locked while a program is built: two tests may need the same one.
var building sync.Mutex

// beside builds a program that is a module of its own, once, if its dependencies can be downloaded.
func beside(t testing.TB, name string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(program(name)); err == nil {
		return program(name)
	}
	download := exec.Command("go", "mod", "download")
	download.Dir = name
	if out, err := download.CombinedOutput(); err != nil {
		absent(t, fmt.Sprintf("the modules of test/clients/%s cannot be had: %s", name, out), "a Go module proxy or cache must have them")
	}
	if err := build(name, name, "."); err != nil {
		t.Fatal(err)
	}
	return program(name)
}

func startIstio(mode string) func(t testing.TB, server, gateway string) caller {
	return func(t testing.TB, server, _ string) caller { return startTalker(t, server, beside(t, "istio"), mode) }
}

func startMOSN(t testing.TB, server, gateway string) caller {
	c := run(t, t.TempDir(), nil, beside(t, "mosn"), server)
	t.Cleanup(func() { c.stop(t) })
	return newViaProxy(gateway)
}

func startGateway(t testing.TB, server, gateway string) caller {
	c := run(t, t.TempDir(), nil, program("sluice"), "gateway", "--xds", server, "--admin", address.Free(t))
	t.Cleanup(func() { c.stop(t) })
	return newViaProxy(gateway)
}

func startEnvoy(t testing.TB, server, gateway string) caller {
	path, admin := realenvoy.Find(t), address.Free(t)
	text, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway", XDS: server, Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := run(t, t.TempDir(), nil, path, "-c", file, "--disable-hot-restart")
	t.Cleanup(func() {
		stats := page(t, admin, "/stats")
		c.stop(t)
		// Rejected updates do not count: the test sends some on purpose.
		refused := regexp.MustCompile(`(?i)rejected|worse`)
		if all := realenvoy.Complaints(c.printed(), stats, realenvoy.Disconnected, refused); len(all) > 0 {
			t.Errorf("Envoy complains of %d things:\n%s", len(all), strings.Join(all, "\n"))
		}
	})
	return newViaProxy(gateway)
}
