package simulate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits of a load, so that a mistake in a file does not take all memory.
const (
	maxRPS         = 1e6
	maxConcurrency = 1e6
	maxRows        = 1_000_000
	maxBytes       = 32 << 20
	// MaxLength is the longest simulation.
	MaxLength = 7 * 24 * time.Hour
	// MaxLatency is the longest time that a replica may work on a request.
	MaxLatency = time.Hour
	maxStartup = time.Hour
)

// Load is what arrives over time.
type Load struct {
	// Name says what it is, for titles.
	Name string
	// Steps are sorted by time; nothing arrives before the first.
	Steps []Step
	// Length is how long it goes on; the last step holds until then.
	Length time.Duration
}

// Step is the load from one moment to that of the next Step.
type Step struct {
	At time.Duration
	// RPS is how many requests arrive a second.
	RPS float64
	// Latency is how long a replica works on one; whole milliseconds.
	Latency time.Duration
}

// ReadTrace reads a CSV whose header is seconds,rps, seconds,rps,latency_ms or seconds,concurrency. A row holds until the next one, the
// last row as long as the one before it. A concurrency is the number of requests in progress if none had to wait. Latency is for rows
// without one. Errors name the line.
func ReadTrace(from io.Reader, latency time.Duration) (Load, error) {
	limited := &io.LimitedReader{R: from, N: maxBytes + 1}
	r := csv.NewReader(limited)
	r.Comment, r.TrimLeadingSpace, r.ReuseRecord = '#', true, true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return Load{}, errors.New("the trace is empty: it begins with the line seconds,rps or seconds,concurrency")
	} else if err != nil {
		return Load{}, err
	}
	t := trace{reader: r, latency: latency}
	if err := t.header(header); err != nil {
		return Load{}, err
	}
	for {
		fields, err := r.Read()
		if limited.N == 0 {
			return Load{}, fmt.Errorf("the trace is over %d MiB", maxBytes>>20)
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Load{}, err
		}
		if err := t.row(fields); err != nil {
			line, _ := r.FieldPos(0)
			return Load{}, fmt.Errorf("line %d: %w", line, err)
		}
	}
	return t.load()
}

// trace is a CSV that is being read.
type trace struct {
	reader      *csv.Reader
	concurrency bool // the second column is a concurrency
	latency     time.Duration
	steps       []Step
}

func (t *trace) header(fields []string) error {
	switch names := strings.ToLower(strings.ReplaceAll(strings.Join(fields, ","), " ", "")); strings.TrimPrefix(names, "\ufeff") {
	case "seconds,rps", "seconds,rps,latency_ms":
	case "seconds,concurrency":
		t.concurrency = true
	default:
		return fmt.Errorf("line 1: the header is %q, want seconds,rps or seconds,rps,latency_ms or seconds,concurrency",
			strings.Join(fields, ","))
	}
	return nil
}

func (t *trace) row(fields []string) error {
	seconds, err := number("seconds", fields[0], MaxLength.Seconds())
	if err != nil {
		return err
	}
	s := Step{At: time.Duration(math.Round(seconds*1000)) * time.Millisecond, Latency: t.latency}
	if n := len(t.steps); n > 0 && s.At <= t.steps[n-1].At {
		return fmt.Errorf("seconds is %s, want more than the %v of the row before", fields[0], t.steps[n-1].At.Seconds())
	}
	if len(t.steps) == maxRows {
		return fmt.Errorf("more than %d rows", maxRows)
	}
	if t.concurrency {
		c, err := number("concurrency", fields[1], maxConcurrency)
		if err != nil {
			return err
		}
		if s.RPS = c / s.Latency.Seconds(); s.RPS > maxRPS {
			return fmt.Errorf("a concurrency of %s with requests of %v is %.3g requests a second, want at most %.0f",
				fields[1], s.Latency, s.RPS, float64(maxRPS))
		}
	} else if s.RPS, err = number("rps", fields[1], maxRPS); err != nil {
		return err
	}
	if len(fields) > 2 {
		ms, err := number("latency_ms", fields[2], float64(MaxLatency.Milliseconds()))
		if err != nil {
			return err
		}
		s.Latency = time.Duration(ms * float64(time.Millisecond))
	}
	s.Latency = wholeMillis(s.Latency)
	t.steps = append(t.steps, s)
	return nil
}

func (t *trace) load() (Load, error) {
	n := len(t.steps)
	if n == 0 {
		return Load{}, errors.New("the trace has a header and no row")
	}
	hold := time.Minute
	if n > 1 {
		hold = t.steps[n-1].At - t.steps[n-2].At
	}
	return Load{Steps: t.steps, Length: min(t.steps[n-1].At+hold, MaxLength)}, nil
}

// number parses a number from 0 to most.
func number(column, text string, most float64) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(v >= 0 && v <= most) { // NaN is neither
		return 0, fmt.Errorf("%s is %q, want a number from 0 to %.0f", column, text, most)
	}
	return v, nil
}

// wholeMillis rounds to whole milliseconds, the resolution of the model, and to at least one.
func wholeMillis(d time.Duration) time.Duration {
	return max(time.Millisecond, d.Round(time.Millisecond))
}
