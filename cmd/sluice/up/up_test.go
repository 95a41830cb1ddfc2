package up_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"sluice.dev/sluice/cmd/sluice/sample"
	"sluice.dev/sluice/cmd/sluice/up"
	"sluice.dev/sluice/standalone/store"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/output"
)

// TestMain makes a program of the test binary that can be Options.Program: `store` keeps objects, and services run `sample`.
func TestMain(m *testing.M) {
	switch command := cmp.Or(strings.Join(os.Args[1:min(2, len(os.Args))], ""), "test"); command {
	case "store":
		var c store.Config
		flags := pflag.NewFlagSet(command, pflag.ExitOnError)
		c.AddFlags(flags)
		_ = flags.Parse(os.Args[2:]) // it exits on an error
		store.Serve(c)
	case "sample":
		_ = sample.Run(context.Background(), sample.FromEnvironment()) // until it is killed
	default:
		klog.SetLogger(logr.Discard())
		ctrllog.SetLogger(logr.Discard())
		os.Exit(m.Run())
	}
}

// Everything of a machine, in this process.
func Example() {
	o := up.Defaults()
	o.HTTP, o.Gateway = "127.0.0.1:8000", up.GatewayBuiltin
	o.Manifests = []string{"../../../examples/hello"}
	// o.Program = a sluice binary, so that a full disk ends the store's process and not this one, and `sluice sample` is found.

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	sluice, err := up.New(ctx, o)
	if err != nil {
		fmt.Println(err) // such as an address that is in use
		return
	}
	go func() {
		<-sluice.Ready()
		fmt.Println("KUBECONFIG=" + sluice.Kubeconfig())
		stop()
	}()
	if err := sluice.Run(ctx); err != nil {
		fmt.Println(err)
	}
}

// patience is how long tests wait for what must come, however busy the machine is.
const patience = 2 * time.Minute

// options are those of an Up with addresses and a folder of its own.
func options(t *testing.T) up.Options {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-up-") // not t.TempDir: its paths are longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // in the folder for temporary files
	o := up.Defaults()
	o.DataDir, o.Gateway = filepath.Join(dir, "data"), up.GatewayBuiltin
	for _, a := range []*string{&o.HTTP, &o.Local, &o.API, &o.Activator, &o.XDS.Address, &o.Admin.Address} {
		*a = address.Free(t)
	}
	return o
}

// runUntil runs an Up, and ends it when what it waits for has returned.
func runUntil(t *testing.T, o up.Options, wait func()) error {
	t.Helper()
	u, err := up.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	select {
	case <-u.Ready():
		wait()
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Error("it does not become ready")
	}
	stop()
	return <-ended
}

func get(url, host string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Host = host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// eventually waits until what is asked for comes, and returns it.
func eventually(t *testing.T, what string, ask func() (string, error)) (answer string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		answer, err := ask()
		if err == nil {
			return answer
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %v", what, err)
			return ""
		}
	}
}

// page waits for a page.
func page(t *testing.T, url, host string) string {
	t.Helper()
	return eventually(t, url, func() (string, error) { return get(url, host) })
}

// One Up after another in the same folder and process: what was applied is there again, and neither leaves an address or the environment
// of the process changed.
func TestUpRunsInThisProcessAndLeavesNothing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Environ()
	o := options(t)
	o.Program = self
	for _, manifests := range [][]string{{"../../../examples/hello"}, nil} {
		var out output.Buffer
		o.Manifests, o.Out = manifests, &out
		err := runUntil(t, o, func() {
			eventually(t, "the line of the service", func() (string, error) {
				if text := out.String(); !strings.HasPrefix(text, "sluice is ready\n") ||
					!strings.Contains(text, "\ndefault/hello is ready: http://hello.default.localhost:") {
					return "", fmt.Errorf("it prints %q", text)
				}
				return "", nil
			})
			if body := page(t, "http://"+o.HTTP, "hello.default.localhost"); !strings.Contains(body, "World") {
				t.Errorf("the service answers %q", body)
			}
			if body := page(t, "http://"+o.Admin.Address+"/healthz", ""); body != "ok\n" {
				t.Errorf("/healthz has %q", body)
			}
			if body := page(t, "http://"+o.Admin.Address+"/metrics", ""); !strings.Contains(body, "sluice_xds_sequence") ||
				!strings.Contains(body, "sluice_activator_") {
				t.Errorf("/metrics lacks what the parts count:\n%s", body)
			}
		})
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
		for _, a := range []string{o.HTTP, o.Local, o.API, o.Activator, o.XDS.Address, o.Admin.Address} {
			l, err := net.Listen("tcp", a)
			if err != nil {
				t.Errorf("an address is not free after it: %v", err)
				continue
			}
			l.Close()
		}
	}
	if after := os.Environ(); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("the environment was %q and is %q", before, after)
	}
}

// Without a program the store is in this process too.
func TestUpNeedsNoProgram(t *testing.T) {
	o := options(t)
	if err := runUntil(t, o, func() {}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(o.DataDir, "bin")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a folder for a program: %v", err)
	}
}

// What was opened before an error is closed.
func TestUpThatCannotStartHoldsNoAddress(t *testing.T) {
	o := options(t)
	taken, err := net.Listen("tcp", o.Admin.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := runUntil(t, o, func() {}); err == nil || !strings.Contains(err.Error(), "--admin "+o.Admin.Address+" is in use") {
		t.Errorf("got %v, want the address that is in use", err)
	}
	for _, a := range []string{o.Activator, o.XDS.Address} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Errorf("it holds an address: %v", err)
			continue
		}
		l.Close()
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for want, change := range map[string]func(*up.Options){
		"absent.yaml":                                       func(o *up.Options) { o.Manifests = []string{"absent.yaml"} },
		`--gateway "x" is none of auto`:                     func(o *up.Options) { o.Gateway = "x" },
		`--routes "x" is neither`:                           func(o *up.Options) { o.Routes = "x" },
		"--max-replicas 0 is none":                          func(o *up.Options) { o.MaxReplicas = 0 },
		"--xds-insecure is for plain":                       func(o *up.Options) { o.XDS.Insecure, o.XDS.Cert, o.XDS.Key = true, "a", "b" },
		"--http example.test:80 is no address to listen on": func(o *up.Options) { o.HTTP = "example.test:80" },
		"--tls-cert and --tls-key belong together":          func(o *up.Options) { o.TLSCerts = []string{"a"} },
		"absent-config.yaml":                                func(o *up.Options) { o.AutoscalerConfig = "absent-config.yaml" },
	} {
		o := options(t)
		change(&o)
		if _, err := up.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
