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
	// start connects a client to the xDS server; a proxy listens where it is told, which is the gateway's address.
	start func(t testing.TB, server, gateway string) caller
	// proxy is set for a data plane, which HTTP requests are sent through; the others call by gRPC without one.
	proxy bool
	// inline is set for a data plane that takes no scopes.
	inline bool
	// redraws is set for a proxy that repeats a call at a replica drawn anew, which may be the one that was tried before.
	redraws bool
	// port is the name of the container's port in the services that it calls.
	port string
	// burst is the target-burst-capacity of services that it calls, by default 0. MOSN has of a cluster's localities the last one
	// for all of it: with -1 that is the replicas, beneath the activators.
	burst string
	// cannot says why a scenario is left out.
	cannot map[string]string
	// own matches the errors that the client makes by itself, whatever a server does; why is beside it.
	own *regexp.Regexp
	// gone matches what a call to a host says that is there no more.
	gone *regexp.Regexp
}

// foreigners are all clients. What a protocol cannot do is in cannot, so that the table is what is known of each.
var foreigners = []foreign{
	{
		name: "grpc-go", start: startGRPCGo, port: "h2c",
		// grpc-go puts new routes in force a moment before the balancers of their clusters.
		own:  regexp.MustCompile(`unknown cluster selected for RPC`),
		gone: regexp.MustCompile(`^rpc error: code = Unavailable desc = .*(not found|does not exist|has been removed)`),
	},
	{
		name: "grpc-js", start: startJS, port: "h2c",
		gone: regexp.MustCompile(`^14 UNAVAILABLE: `), // its text says that no connection was established
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
			"sleep": "it does not add the headers of a weighted cluster or a route, by which an activator knows the revision",
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

// askedOnce is why istio's client by names ends with its connection.
const askedOnce = "after a reconnect it does not ask again for what it had asked for by name"

// unanswered is why MOSN stays with what it has when its connection ends: it begins with clusters, and asks for endpoints, listeners
// and routes once it is answered. But it says which version of the clusters it has, and is told nothing while that is the newest.
const unanswered = "after a reconnect it waits for news of its clusters before it asks for anything else"

// absent skips a test whose client is not on this machine. In CI it fails: .ci/run installs all of them.
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

// python is the interpreter that Debian's packages belong to, whatever else is on PATH.
const python = "/usr/bin/python3"

func startPython(t testing.TB, server, _ string) caller {
	if err := exec.Command(python, "-c", "import grpc, google.protobuf").Run(); err != nil {
		absent(t, "gRPC's C core is not there for "+python, "install python3-grpcio and python3-protobuf (Debian) to run this test")
	}
	return startTalker(t, server, python, "python/client.py")
}

// building is held while a program of a module of its own is built: two tests may want the same.
var building sync.Mutex

// beside builds the program of a module of its own, once, if its modules can be had.
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
		// What a test has it refuse is no complaint of what the product sends.
		refused := regexp.MustCompile(`(?i)rejected|worse`)
		if all := realenvoy.Complaints(c.printed(), stats, realenvoy.Disconnected, refused); len(all) > 0 {
			t.Errorf("Envoy complains of %d things:\n%s", len(all), strings.Join(all, "\n"))
		}
	})
	return newViaProxy(gateway)
}
