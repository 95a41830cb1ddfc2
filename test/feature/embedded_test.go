package feature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	upcmd "sluice.dev/sluice/cmd/sluice/up"
)

// program is a `sluice up` that runs.
type program interface {
	// Signal sends a signal.
	Signal(os.Signal) error
	// wait waits for the end and returns the exit code.
	wait() int
}

// embed is up in the process of the test, where the race detector sees all of it. It is for tests of what the API says: they must neither
// kill it nor look at its process. The test process then adopts what binaries that were killed leave behind (see package up), and keeps it
// as zombies.
func embed(t testing.TB, args ...string) *instance {
	t.Helper()
	s := builtin.instance(t, args...)
	s.run = runEmbedded
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// embedded is a `sluice up` in this process.
type embedded struct {
	cancel context.CancelFunc
	ended  chan struct{}
	code   int
}

// runEmbedded runs what the binary would run with these arguments in a folder; the output is closed at the end.
func runEmbedded(dir string, output io.WriteCloser, args []string) (program, error) {
	o := upcmd.Defaults()
	flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse(args[1:]); err != nil {
		return nil, err
	}
	o.DataDir, o.Program, o.Out = filepath.Join(dir, o.DataDir), sluiceBinary, output
	o.Logger = hclog.New(&hclog.LoggerOptions{Name: "sluice", Output: output})
	ctx, cancel := context.WithCancel(context.Background())
	e := &embedded{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		defer output.Close()
		u, err := upcmd.New(ctx, o)
		if err == nil {
			err = u.Run(ctx)
		}
		if err != nil {
			e.code = 1
			fmt.Fprintln(output, "sluice:", err)
		}
	}()
	return e, nil
}

// Signal ends it as SIGTERM ends the binary, and does nothing else.
func (e *embedded) Signal(signal os.Signal) error {
	if signal != syscall.SIGTERM {
		return errors.New("a sluice up in the process of the test takes SIGTERM alone")
	}
	e.cancel()
	return nil
}

func (e *embedded) wait() int {
	<-e.ended
	return e.code
}
