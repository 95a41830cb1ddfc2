// Command sluice runs request-driven services behind Envoy with Knative's API: on one machine with `sluice up`,
// or part by part.
package main

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

func main() {
	// SIGXFSZ would end the process when a file may not grow (ulimit -f); caught, only the write fails. Ignored, it would be ignored in our
	// child processes too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ)
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		// What matters of its log is in the errors that gRPC returns.
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	err := root().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	ended := exit{1, err}
	errors.As(err, &ended)
	if ended.err != nil {
		fmt.Fprintln(os.Stderr, "sluice:", ended.err)
	}
	os.Exit(ended.code)
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "sluice",
		Short: "Request-driven services behind Envoy, with Knative's API",
		Long: `Sluice runs request-driven services behind Envoy. It takes Knative's YAML and the kn command
unchanged, keeps immutable revisions, splits traffic between them by weight, and programs
Envoy and proxyless gRPC clients over xDS.

Start here:

  sluice up -f examples/canary     everything on this machine, and the services of a folder
  kubectl --kubeconfig .sluice/kubeconfig get ksvc`,
		SilenceUsage: true, SilenceErrors: true,
	}
	c.AddCommand(
		upCommand(), controllerCommand(), gatewayCommand(), activatorCommand(), translateCommand(), simulateCommand(), explainCommand(),
		xdsCommand(), bootstrapCommand(), copyCommand(), installCommand(), uninstallCommand(), checkCommand(),
		sampleCommand(), storeCommand(), versionCommand(),
	)
	return c
}

// exit is the error of a command that has printed everything, or whose exit code is not 1.
type exit struct {
	code int
	err  error // nil: nothing is to be printed
}

func (e exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e exit) Unwrap() error { return e.err }

// logFlags are the flags of every command that runs for long.
type logFlags struct {
	level string
	json  bool
}

func (f *logFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.level, "log-level", "info", "how much to log: trace, debug, info, warn, error or off")
	c.Flags().BoolVar(&f.json, "log-json", false, "log as JSON, one object a line")
}

func (f *logFlags) logger(to io.Writer) (hclog.Logger, error) {
	level := hclog.LevelFromString(f.level)
	if level == hclog.NoLevel {
		return nil, fmt.Errorf("--log-level %q is none of trace, debug, info, warn, error and off", f.level)
	}
	return hclog.New(&hclog.LoggerOptions{Name: "sluice", Level: level, Output: to, JSONFormat: f.json, TimeFormat: "15:04:05.000"}), nil
}
