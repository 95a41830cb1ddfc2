package feature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/test/address"
)

// part is a gateway or an activator in a process of its own. It runs until the test ends or ends it.
type part struct {
	t      testing.TB
	name   string
	admin  string // address
	output string // path of the file with its output
	envoy  bool
	cmd    *exec.Cmd
	exited chan struct{}
}

func newPart(t testing.TB, name string) *part {
	return &part{t: t, name: name, admin: address.Free(t), output: filepath.Join(t.TempDir(), "output"), exited: make(chan struct{})}
}

// startActivator starts an activator. The test may end before it is ready.
func startActivator(t testing.TB, xds, listen string, flags ...string) *part {
	t.Helper()
	p := newPart(t, "activator")
	p.launch(sluiceBinary, append([]string{"activator", "--xds", xds, "--listen", listen, "--admin", p.admin}, flags...)...)
	return p
}

func (p *part) launch(path string, args ...string) {
	p.t.Helper()
	out, err := os.Create(p.output)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	p.t.Cleanup(func() {
		p.end(syscall.SIGTERM)
		if p.t.Failed() {
			p.t.Logf("output of %s %s:\n%s", p.name, strings.Join(args, " "), p.printed())
		}
	})
}

// read returns a page of the admin address.
func (p *part) read(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+path, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, body)
	}
	return string(body), err
}

// ready waits until the part is ready, and returns it.
func (p *part) ready() *part {
	p.t.Helper()
	path := map[string]string{"activator": "/healthz"}[p.name]
	if path == "" {
		path = "/ready" // a gateway has Envoy's path
	}
	eventually(p.t, p.name+" is ready", func() error {
		_, err := p.read(context.Background(), path)
		return err
	})
	return p
}

// end sends a signal, unless the part has ended, and waits until it ends.
func (p *part) end(signal syscall.Signal) span {
	p.t.Helper()
	select {
	case <-p.exited:
		return span{}
	default:
	}
	stats := ""
	if p.envoy && signal != syscall.SIGKILL {
		stats, _ = p.read(context.Background(), "/stats") // a part that is not ready has none
	}
	began := time.Now()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Error(err)
	}
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.exited
		p.t.Errorf("%s did not end within a minute of %v", p.name, signal)
	}
	ended := time.Now()
	if state := p.cmd.ProcessState; signal != syscall.SIGKILL && !state.Success() {
		p.t.Errorf("after %v %s ended with %v", signal, p.name, state)
	}
	if p.envoy {
		contented(p.t, p.printed(), stats)
	}
	return span{began, ended}
}

func (p *part) printed() string {
	p.t.Helper()
	text, err := os.ReadFile(p.output)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// says waits until the part has printed a text.
func (p *part) says(want string) {
	p.t.Helper()
	eventually(p.t, "it says "+want, func() error {
		if text := strings.ReplaceAll(p.printed(), `\"`, `"`); !strings.Contains(text, want) {
			return errors.New(text)
		}
		return nil
	})
}
