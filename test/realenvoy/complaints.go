package realenvoy

import (
	"regexp"
	"strings"
)

// Complaints understands two forms of log: that of Envoy itself (on standard error or in DATA/envoy.log), and that of `sluice up`
// with Envoy's entries in it.
var (
	// begins matches the beginning of an entry.
	begins = regexp.MustCompile(`^\[\d{4}-\d\d-\d\d |^\d\d:\d\d:\d\d\.\d+ \[|^\d{4}-\d\d-\d\dT[0-9:.+Z-]+ \[|` +
		`^(trace|debug|info|warning|error|critical)\t`)
	// severe matches the beginning of an entry of Envoy that is a warning or worse.
	severe = regexp.MustCompile(`^\[\d{4}-[^\]]*\]\[\d+\]\[(warning|error|critical)\]|` +
		`^(warning|error|critical)\t|^\S+ \[(WARN|ERROR)\] +\S*\benvoy(\.\S+)?: `)
	// foreign matches the beginning of an entry of `sluice up` that is not Envoy's, and does not count.
	foreign = regexp.MustCompile(`^\S+ \[[A-Z]+\] +`)
	ours    = regexp.MustCompile(`^\S+ \[[A-Z]+\] +\S*\benvoy(\.\S+)?: `)
	access  = regexp.MustCompile(`^\S+ \[[A-Z]+\] +\S*\benvoy\.access: |^\{`)
	// wrong matches texts that no entry of any level may have.
	wrong = regexp.MustCompile(`(?i)envoy bug|deprecated|unknown field|update_rejected|assert(ion)? failure|` +
		`caught .* suspect faulting address`)
	// counted are the counters that must be 0.
	counted = regexp.MustCompile(`(update_rejected|envoy_bug_failures|debug_assertion_failures|(static|dynamic)_unknown_fields|` +
		`wip_protos|deprecated_feature_(use|seen_since_process_start))(\{[^}]*\})?:? +(\d+)$`)
)

// Between these two entries Envoy ends on SIGTERM, and its complaints do not count.
const (
	ends   = "caught ENVOY_SIGTERM"
	starts = "initializing epoch"
)

// longest bounds how much of an entry is shown, in bytes.
const longest = 2000

// Complaints returns the complaints in Envoy's log and statistics (/stats or /stats/prometheus): each warning and worse, each "envoy
// bug", deprecated or unknown field in the log, and each counter of those and of rejected updates that is not 0. It leaves out those
// that match one of the expected, and those of an Envoy that ends on SIGTERM. Either text may be empty.
func Complaints(log, stats string, expected ...*regexp.Regexp) []string {
	var all []string
	add := func(text string) {
		for _, e := range expected {
			if e.MatchString(text) {
				return
			}
		}
		all = append(all, text)
	}
	ending := false
	for _, entry := range entries(log) {
		if ending = (ending || strings.Contains(entry, ends)) && !strings.Contains(entry, starts); !ending && isComplaint(entry) {
			add(strings.TrimRight(entry[:min(len(entry), longest)], "\n"))
		}
	}
	for line := range strings.Lines(stats) {
		line = strings.TrimSpace(line)
		if m := counted.FindStringSubmatch(line); m != nil && strings.Trim(m[len(m)-1], "0") != "" {
			add(line)
		}
	}
	return all
}

// isComplaint reports whether an entry of Envoy is a warning or worse, or has a text that it must not have.
func isComplaint(entry string) bool {
	if access.MatchString(entry) || foreign.MatchString(entry) && !ours.MatchString(entry) {
		return false
	}
	return severe.MatchString(entry) || wrong.MatchString(entry)
}

// entries splits a log into entries, which may have several lines.
func entries(log string) []string {
	var all []string
	for line := range strings.Lines(log) {
		if len(all) == 0 || begins.MatchString(line) || access.MatchString(line) {
			all = append(all, line)
			continue
		}
		all[len(all)-1] += line
	}
	return all
}
