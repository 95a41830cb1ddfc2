package http

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// page has the table for people. -update writes the text between the two marks.
const (
	page  = "../../docs/http.md"
	begin = "<!-- rows of test/http: go test ./test/http -run TestThePageHasTheTable -update -->\n"
	stop  = "<!-- end of rows -->\n"
)

var update = flag.Bool("update", false, "rewrite the table of docs/http.md")

func TestThePageHasTheTable(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, stop)
	if !ok || !ended {
		t.Fatalf("%s lacks the marks around the table", page)
	}
	want := before + begin + "\n" + markdown() + "\n" + stop + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil { //nolint:gosec // a page of the documentation
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Errorf("%s does not have the rows of the table; -update writes them", page)
	}
}

// markdown returns the table, with a column for each hop.
func markdown() string {
	var b strings.Builder
	b.WriteString("| what |")
	for _, h := range hops {
		b.WriteString(" " + h.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(hops)) + "\n")
	for _, r := range table {
		b.WriteString("| " + strings.ReplaceAll(r.name, "|", `\|`) + " |")
		for _, h := range hops {
			if why, differs := r.but[h.name]; differs {
				b.WriteString(" no: " + why + " |")
				continue
			}
			b.WriteString(" yes |")
		}
		b.WriteString("\n")
	}
	return b.String()
}
