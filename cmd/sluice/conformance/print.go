package conformance

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes the results as a table, the remedies below it, and a last line that sums them up. It returns how many failed.
func Print(to io.Writer, results []Result) (failed int) {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, r := range results {
		if r.Outcome == Failed {
			failed++
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Outcome, r.Check, r.Took.Round(10*time.Microsecond), oneLine(r.Detail))
	}
	_ = table.Flush()
	for _, r := range results {
		if r.Remedy != "" {
			_, _ = fmt.Fprintf(to, "\n%s: %s", r.Check, r.Remedy)
		}
	}
	if failed > 0 {
		_, _ = fmt.Fprintf(to, "\n\n%d of %d checks failed\n", failed, len(results))
		return failed
	}
	_, _ = fmt.Fprintf(to, "\nall %d checks passed, or are of optional parts\n", len(results))
	return 0
}

// oneLine is a text of a server for a table.
func oneLine(text string) string {
	if len(text) > 120 {
		text = strings.ToValidUTF8(text[:120], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}
