package envoy

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// maxLine bounds a line of the log, maxEntry an entry, in bytes.
	maxLine, maxEntry = 16 << 10, 64 << 10
	// entryPause is how long an entry waits for further lines.
	entryPause = 200 * time.Millisecond
	// lastLines is how many lines are kept to explain why Envoy ended.
	lastLines = 10
	// tracedEvery is how often a message about spans that could not be sent is logged.
	tracedEvery = time.Minute
)

// logFormat is how Envoy begins each message: time, thread, level, logger and place in its sources.
const logFormat = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"

var (
	header = regexp.MustCompile(`^\[\d{4}-\d\d-\d\d [\d:.]+\]\[\d+\]\[(\w+)\]\[([^\]]*)\] \[[^\]]*\] (.*)$`)
	// frame matches a message that continues the one before: Envoy writes each line of a stack trace as a message.
	frame = regexp.MustCompile(`^(#\d+|stacktrace for )`)
)

// levels maps Envoy's levels to ours. Below a warning it is debug: Envoy logs hundreds of lines at each start.
var levels = map[string]hclog.Level{"warning": hclog.Warn, "error": hclog.Error, "critical": hclog.Error}

// lines splits what is written to it into lines, and truncates long ones.
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

// flush emits an incomplete line.
func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.emit(string(l.rest))
		l.rest = l.rest[:0]
	}
}

// entry is a message of Envoy's log, with all its lines.
type entry struct {
	level  hclog.Level
	logger string // empty for the output of a library or a crash
	text   strings.Builder
}

// entries groups the lines of Envoy's log into entries and logs them.
type entries struct {
	to hclog.Logger

	mu      sync.Mutex
	open    *entry // may continue
	flusher *time.Timer
	last    []string
	ending  bool      // Envoy was asked to end, and its warnings about that are not logged as warnings
	traced  time.Time // when a message about sending spans was logged
}

func newEntries(to hclog.Logger) *entries {
	e := &entries{to: to}
	e.flusher = time.AfterFunc(entryPause, e.flush)
	return e
}

func (e *entries) add(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := read(line)
	if next != nil && e.ending && next.level == hclog.Warn {
		next.level = hclog.Debug
	}
	if next == nil || next.level > hclog.Debug {
		e.last = append(e.last[max(0, len(e.last)-lastLines+1):], line)
	}
	switch {
	case e.open != nil && (next == nil || e.open.continues(next)):
		if next != nil {
			line = next.text.String()
		}
		if e.open.text.Len() < maxEntry {
			e.open.text.WriteString("\n" + line)
		}
	case next == nil:
		next = &entry{level: hclog.Warn}
		next.text.WriteString(line)
		e.open = next
	default:
		e.emit()
		e.open = next
	}
	e.flusher.Reset(entryPause)
}

// read parses the first line of a message; nil if it is none.
func read(line string) *entry {
	parts := header.FindStringSubmatch(line)
	if parts == nil {
		return nil
	}
	level, known := levels[parts[1]]
	if !known {
		level = hclog.Debug
	}
	e := &entry{level: level, logger: parts[2]}
	e.text.WriteString(parts[3])
	return e
}

// continues reports whether the next message belongs to this one.
func (e *entry) continues(next *entry) bool {
	return e.logger == next.logger && e.level == next.level && (e.logger == "backtrace" || frame.MatchString(next.text.String()))
}

// flush logs the open entry.
func (e *entries) flush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.emit()
}

// calm has Envoy's messages about a collector of traces that is away, which come with each batch of spans, be warnings, and those after
// the first one debug for tracedEvery.
func (e *entries) calm() {
	if e.open.logger != "tracing" || e.open.level <= hclog.Debug {
		return
	}
	e.open.level = hclog.Warn
	if now := time.Now(); now.Sub(e.traced) >= tracedEvery {
		e.traced = now
		return
	}
	e.open.level = hclog.Debug
}

func (e *entries) emit() {
	if e.open == nil {
		return
	}
	e.calm()
	first, rest, several := strings.Cut(e.open.text.String(), "\n")
	var details []any
	if e.open.logger != "" {
		details = append(details, "logger", e.open.logger)
	}
	if several {
		details = append(details, "lines", rest)
	}
	e.to.Log(e.open.level, first, details...)
	e.open = nil
}

// expectEnd says that Envoy was asked to end.
func (e *entries) expectEnd() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ending = true
}

// tail returns the last lines that are warnings or worse, or have no level.
func (e *entries) tail() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.last, "\n")
}

// output receives what one Envoy writes.
type output struct {
	log, access lines
	entries     *entries
	file        io.Writer // gets the whole log, as Envoy writes it
}

func newOutput(to hclog.Logger, file io.Writer) *output {
	o := &output{entries: newEntries(to), file: file}
	o.log.emit = o.entries.add
	named := to.Named("access")
	o.access.emit = func(line string) { named.Info(line) }
	return o
}

// Write takes a part of the log. If the file cannot be written, Envoy goes on.
func (o *output) Write(p []byte) (int, error) {
	if o.file != nil {
		_, _ = o.file.Write(p)
	}
	return o.log.Write(p)
}

// end logs what is incomplete.
func (o *output) end() {
	o.log.flush()
	o.access.flush()
	o.entries.flush()
}
