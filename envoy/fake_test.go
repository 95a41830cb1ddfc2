package envoy_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
		self, admin := os.Args[0], os.Getenv("SUPERVISOR_ADMIN")
		panic(envoy.Run(context.Background(), envoy.Supervise{Path: self, Dir: dir, Admin: admin, Bootstrap: mustBootstrap(admin), Logger: hclog.Default()}))
	case os.Getenv("FAKE_ENVOY_DIR") != "":
		fakeEnvoy(os.Getenv("FAKE_ENVOY_DIR"), os.Getenv("FAKE_ENVOY_MODE"))
	default:
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
func fakeEnvoy(dir, mode string) {
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
	fmt.Fprintf(os.Stderr, "warning\tmain\ta warning of the fake\nnot in the form of the log\n%s\n", strings.Repeat("x", 100_000))
	fmt.Println(`{"path":"/"}`)
	if records, _ := os.ReadFile(filepath.Join(dir, "record")); mode == "crash" && strings.Count(string(records), "started") < 3 {
		os.Exit(1)
	}
	go func() {
		err := http.ListenAndServe(adminOf(os.Args), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				record("POST " + r.URL.String())
			}
			if r.URL.Path != "/stats" {
				return
			}
			open := 0
			if _, err := os.Stat(filepath.Join(dir, "finished")); mode == "busy" && err != nil {
				record("asked while busy")
				open = 1
			}
			fmt.Fprintf(w, "server.total_connections: %d\n", open)
		}))
		panic(err)
	}()
	<-terminated
	record("SIGTERM")
	if mode == "deaf" {
		select {}
	}
	os.Exit(0)
}

// adminOf reads the bootstrap named by -c.
func adminOf(args []string) string {
	for i, a := range args {
		if a != "-c" {
			continue
		}
		text, err := os.ReadFile(args[i+1])
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
		address := b.GetAdmin().GetAddress().GetSocketAddress()
		return fmt.Sprintf("%s:%d", address.GetAddress(), address.GetPortValue())
	}
	panic("no -c")
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
