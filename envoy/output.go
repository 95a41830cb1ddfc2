package envoy

import (
	"bytes"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// maxLine is how much of a line is kept, in bytes.
const maxLine = 16 << 10

// lines cuts what is written to it into lines. One that is too long loses its end.
type lines struct {
	emit func(line string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	for n := len(p); ; {
		line, after, complete := bytes.Cut(p, []byte("\n"))
		l.rest = append(l.rest, line[:min(len(line), maxLine-len(l.rest))]...)
		if !complete {
			return n, nil
		}
		l.flush()
		p = after
	}
}

// flush emits a line that has no end yet.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.emit(string(l.rest))
		l.rest = l.rest[:0]
	}
}

// levels are Envoy's names of log levels that hclog has others for.
var levels = map[string]hclog.Level{"warning": hclog.Warn, "critical": hclog.Error}

// log passes a line of Envoy's log on: its level, the name of its logger and the message, separated by tabs. What is not of that
// form is not from the log, but from a library or a crash.
func (s Supervise) log(line string) {
	parts := strings.SplitN(line, "\t", 3)
	if len(parts) < 3 {
		s.Logger.Warn(line)
		return
	}
	level, known := levels[parts[0]]
	if !known {
		level = hclog.LevelFromString(parts[0])
	}
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	s.Logger.Log(level, parts[2], "logger", parts[1])
}

func (s Supervise) logAccess(line string) { s.Logger.Named("access").Info(line) }
