package envoy_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"sluice.dev/sluice/envoy"
)

// TestMain lets this binary be the processes that the tests need: a stand-in for Envoy that has its admin interface and
// writes down what happens to it, and a supervisor that can be killed.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("SUPERVISOR_DIR") != "":
		dir := os.Getenv("SUPERVISOR_DIR")
		if err := os.Unsetenv("SUPERVISOR_DIR"); err != nil {
			panic(err)
		}
		self, admin := os.Args[0], "unix:"+filepath.Join(dir, "admin.sock")
		panic(envoy.Run(context.Background(), envoy.Supervise{Path: self, Dir: dir, Admin: admin, Bootstrap: mustBootstrap(admin),
			Logger: hclog.Default()}))
	case os.Getenv("FAKE_ENVOY") != "":
		fakeEnvoy()
	default:
		if err := os.Setenv("FAKE_ENVOY", "for the children of this process"); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
}

func mustBootstrap(admin string) []byte {
	text, err := envoy.Bootstrap(envoy.Options{NodeID: "gateway-1", XDS: "127.0.0.1:18000", Admin: admin})
	if err != nil {
		panic(err)
	}
	return text
}

// fakeEnvoy reads the bootstrap that it is given, serves the admin interface that it says, and ends by SIGTERM.
// The file "mode" beside its bootstrap says how it behaves.
func fakeEnvoy() {
	config := os.Args[slices.Index(os.Args, "-c")+1]
	dir := filepath.Dir(config)
	text, _ := os.ReadFile(filepath.Join(dir, "mode"))
	mode := string(text)
	record := func(what string) {
		f, err := os.OpenFile(filepath.Join(dir, "record"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		fmt.Fprintln(f, what)
	}
	record(fmt.Sprintf("started %d", os.Getpid()))
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	fmt.Fprint(os.Stderr, strings.Repeat("x", 100_000), "\n", fakeLog)
	fmt.Println(`{"path":"/"}`)
	records, _ := os.ReadFile(filepath.Join(dir, "record"))
	lives := strings.Count(string(records), "started")
	if mode == "crash" && lives < 3 || mode == "crash always" || mode == "crash later" && lives > 1 && lives < 6 {
		os.Exit(1)
	}
	listener, err := net.Listen("unix", adminOf(config))
	if err != nil {
		panic(err)
	}
	var asked atomic.Int64
	go func() {
		panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				record("POST " + r.URL.String())
				if asked.Add(1) == 1 && mode == "stumbling" {
					http.Error(w, "not now", http.StatusServiceUnavailable)
					return
				}
			}
			if r.URL.Path != "/stats" {
				return
			}
			active, buffered := 0, 0
			if _, err := os.Stat(filepath.Join(dir, "finished")); err != nil {
				switch mode {
				case "busy":
					active = 1
				case "slow client":
					buffered = 1
				case "stumbling":
					record("asked while busy")
					http.Error(w, "not now", http.StatusServiceUnavailable)
					return
				}
			}
			if active+buffered > 0 {
				record("asked while busy")
			}
			fmt.Fprintf(w, "http.admin.downstream_rq_active: 1\nhttp.http.downstream_rq_active: %d\n"+
				"http.http.downstream_cx_tx_bytes_buffered: %d\n", active, buffered)
		})))
	}()
	<-terminated
	fmt.Fprintln(os.Stderr, "[2026-11-30 10:11:16.371][7][warning][main] [source/a.cc:1] caught ENVOY_SIGTERM")
	record("SIGTERM")
	if mode == "deaf" {
		select {}
	}
	os.Exit(0)
}

// fakeLog is what the fake writes to its log.
const fakeLog = `not in the form of the log
[2026-11-30 10:11:16.371][7][info][main] [source/server/server.cc:430] statically linked extensions:
[2026-11-30 10:11:16.371][7][info][main] [source/server/server.cc:430]   envoy.filters.http: envoy.filters.http.router
[2026-11-30 10:11:16.371][7][warning][config] [source/a.cc:1] a warning of the fake
in two lines
[2026-11-30 10:11:16.371][7][error][envoy_bug] [source/a.cc:2] envoy bug failure: false.
[2026-11-30 10:11:16.371][7][error][envoy_bug] [source/a.cc:2] stacktrace for envoy bug
[2026-11-30 10:11:16.371][7][error][envoy_bug] [source/a.cc:2] #0 UNKNOWN [0x1]
[2026-11-30 10:11:16.371][7][error][envoy_bug] [source/a.cc:2] envoy bug failure: another.
[2026-11-30 10:11:16.371][7][info][main] [source/a.cc:3] no more of this
`

// adminOf reads a bootstrap for the path of the admin interface's socket.
func adminOf(config string) string {
	text, err := os.ReadFile(config)
	if err != nil {
		panic(err)
	}
	json, err := yaml.YAMLToJSON(text)
	if err != nil {
		panic(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(json, b); err != nil {
		panic(err)
	}
	path := b.GetAdmin().GetAddress().GetPipe().GetPath()
	_ = os.Remove(path) // as Envoy does
	return path
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
