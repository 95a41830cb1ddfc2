// Package command is what the binaries of Sluice share as programs: how they end on a signal, their exit codes, the flags of their log.
// It must not know what any command does.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"
)

// Main runs a command, and ends the process with its exit code. The context of the command ends with SIGINT and SIGTERM; a second signal
// ends the process at once.
func Main(root *cobra.Command) {
	// SIGXFSZ would end the process when a file may not grow (ulimit -f); caught, only the write fails. Ignored, it would be ignored in our
	// child processes too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ)
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		// What matters of its log is in the errors that gRPC returns.
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := root.ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	ended := Exit{1, err}
	errors.As(err, &ended)
	if ended.Err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", root.Name(), ended.Err)
	}
	os.Exit(ended.Code)
}

// Exit is the error of a command that has printed everything, or whose exit code is not 1.
type Exit struct {
	Code int
	Err  error // nil: nothing is to be printed
}

func (e Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns the error that is to be printed, or nil.
func (e Exit) Unwrap() error { return e.Err }

// LogFlags are the flags of every command that runs for long.
type LogFlags struct {
	level string
	json  bool
}

// Add adds the flags to a command.
func (f *LogFlags) Add(c *cobra.Command) {
	c.Flags().StringVar(&f.level, "log-level", "info", "how much to log: trace, debug, info, warn, error or off")
	c.Flags().BoolVar(&f.json, "log-json", false, "log as JSON, one object a line")
}

// Logger returns the logger that the flags ask for.
func (f *LogFlags) Logger(to io.Writer) (hclog.Logger, error) {
	level := hclog.LevelFromString(f.level)
	if level == hclog.NoLevel {
		return nil, fmt.Errorf("--log-level %q is none of trace, debug, info, warn, error and off", f.level)
	}
	return hclog.New(&hclog.LoggerOptions{Name: "sluice", Level: level, Output: to, JSONFormat: f.json, TimeFormat: "15:04:05.000"}), nil
}
