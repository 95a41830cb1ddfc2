package realenvoy

import (
	"regexp"
	"strings"
)

// Two forms of log are understood: what an Envoy writes to standard error (or `sluice up` to DATA/envoy.log), and what `sluice up`
// logs of it.
var (
	// begins is how an entry of a log begins.
	begins = regexp.MustCompile(`^\[\d{4}-\d\d-\d\d |^\d\d:\d\d:\d\d\.\d+ \[|^\d{4}-\d\d-\d\dT[0-9:.+Z-]+ \[|^(trace|debug|info|warning|error|critical)\t`)
	// severe is how one of Envoy's begins that is a warning or worse.
	severe = regexp.MustCompile(`^\[\d{4}-[^\]]*\]\[\d+\]\[(warning|error|critical)\]|^(warning|error|critical)\t|^\S+ \[(WARN|ERROR)\] +\S*\benvoy(\.\S+)?: `)
	// foreign is how one of `sluice up` begins that is not of Envoy: others answer for those.
	foreign = regexp.MustCompile(`^\S+ \[[A-Z]+\] +`)
	ours    = regexp.MustCompile(`^\S+ \[[A-Z]+\] +\S*\benvoy(\.\S+)?: `)
	access  = regexp.MustCompile(`^\S+ \[[A-Z]+\] +\S*\benvoy\.access: |^\{`)
	// wrong is what must not be in an entry of whatever level.
	wrong = regexp.MustCompile(`(?i)envoy bug|deprecated|unknown field|update_rejected|assert(ion)? failure|caught .* suspect faulting address`)
	// counted are the counters that must be 0.
	counted = regexp.MustCompile(`(update_rejected|envoy_bug_failures|debug_assertion_failures|(static|dynamic)_unknown_fields|wip_protos|` +
		`deprecated_feature_(use|seen_since_process_start))(\{[^}]*\})?:? +(\d+)$`)
)

// Between these Envoy ends because it was told to, and complains of that.
const (
	told   = "caught ENVOY_SIGTERM"
	starts = "initializing epoch"
)

// longest is how much of an entry is shown, in bytes.
const longest = 2000

// Complaints returns what is wrong with an Envoy by its log and its figures (/stats or /stats/prometheus): each warning and worse,
// each "envoy bug", deprecated or unknown field in the log, and each counter of those and of rejected updates that is not 0. What
// matches one of the expected is left out, and so is what an Envoy says that was told to end. Either text may be empty.
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
		if ending = (ending || strings.Contains(entry, told)) && !strings.Contains(entry, starts); !ending && isComplaint(entry) {
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

// isComplaint is whether an entry is Envoy's, and a warning or worse, or tells of what must not be.
func isComplaint(entry string) bool {
	if access.MatchString(entry) || foreign.MatchString(entry) && !ours.MatchString(entry) {
		return false
	}
	return severe.MatchString(entry) || wrong.MatchString(entry)
}

// entries cuts a log where an entry begins: an entry may have several lines.
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
