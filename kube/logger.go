package kube

import (
	"context"
	"errors"

	"github.com/go-logr/logr"
	"github.com/hashicorp/go-hclog"
)

// sink lets the Kubernetes libraries, which log through logr, write to an hclog.Logger.
type sink struct{ to hclog.Logger }

// Bridge returns a logr.Logger that writes to log. Information of the libraries is detail for our users, so it becomes debug and trace.
func Bridge(log hclog.Logger) logr.Logger { return logr.New(sink{log}) }

func (s sink) Init(logr.RuntimeInfo) {}

func (s sink) Enabled(level int) bool { return s.to.GetLevel() <= severity(level) }

func (s sink) Info(level int, message string, pairs ...any) {
	s.to.Log(severity(level), message, pairs...)
}

func (s sink) Error(err error, message string, pairs ...any) {
	if errors.Is(err, context.Canceled) {
		// The work was stopped on purpose.
		s.to.Debug(message, append(pairs, "error", err)...)
		return
	}
	s.to.Error(message, append(pairs, "error", err)...)
}

func (s sink) WithValues(pairs ...any) logr.LogSink { return sink{s.to.With(pairs...)} }

func (s sink) WithName(name string) logr.LogSink { return sink{s.to.Named(name)} }

func severity(level int) hclog.Level {
	if level == 0 {
		return hclog.Debug
	}
	return hclog.Trace
}
