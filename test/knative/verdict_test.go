package knative

import (
	"io"
	"strings"
	"testing"
)

// TestVerdict feeds events of test2json, as a suite prints them, to what judges them.
func TestVerdict(t *testing.T) {
	const events = `{"Action":"start"}
{"Action":"run","Test":"TestGood"}
{"Action":"output","Test":"TestGood","Output":"fine\n"}
{"Action":"pass","Test":"TestGood"}
{"Action":"run","Test":"TestBad"}
{"Action":"output","Test":"TestBad","Output":"oh no\n"}
{"Action":"fail","Test":"TestBad"}
{"Action":"fail","Test":"TestListed"}
{"Action":"pass","Test":"TestListedWrongly"}
{"Action":"skip","Test":"TestSkipped"}
{"Action":"skip","Test":"TestSkippedListed"}
{"Action":"fail","Test":"TestOneListed/listed"}
{"Action":"pass","Test":"TestOneListed/good"}
{"Action":"fail","Test":"TestOneListed"}
{"Action":"fail","Test":"TestMixed/listed"}
{"Action":"fail","Test":"TestMixed/bad"}
{"Action":"fail","Test":"TestMixed"}
{"Action":"fail","Test":"TestListed/sub"}
{"Action":"run","Test":"TestCutOff"}
{"Action":"fail"}
`
	s := suite{skipped: map[string]string{
		"TestListed": "why", "TestListedWrongly": "why", "TestSkippedListed": "why", "TestOneListed/listed": "why",
		"TestMixed/listed": "why",
	}}
	var log strings.Builder
	found, err := readResults(strings.NewReader(events), &log)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := log.String(), "fine\noh no\n"; got != want {
		t.Errorf("the log is %q, want %q", got, want)
	}
	const listedWrongly = "passes, but stands in the list of known.go with this reason: why"
	const skipped = "the suite skips this test: enable it, or put it into the list of known.go"
	for name, want := range map[string]struct{ problem, reason string }{
		"TestGood":             {"", ""},
		"TestBad":              {"fails", ""},
		"TestListed":           {"", "why"},
		"TestListed/sub":       {"", "why"},
		"TestListedWrongly":    {listedWrongly, ""},
		"TestSkipped":          {skipped, ""},
		"TestSkippedListed":    {"", "why"},
		"TestOneListed":        {"", ""},
		"TestOneListed/listed": {"", "why"},
		"TestOneListed/good":   {"", ""},
		"TestMixed":            {"fails", ""},
		"TestMixed/listed":     {"", "why"},
		"TestMixed/bad":        {"fails", ""},
		"TestCutOff":           {"the suite ended within this test", ""},
	} {
		if problem, reason := s.verdict(name, found); problem != want.problem || reason != want.reason {
			t.Errorf("verdict on %s: %q, %q; want %q, %q", name, problem, reason, want.problem, want.reason)
		}
	}
	if got := found.byName["TestBad"].output.String(); got != "oh no\n" {
		t.Errorf("the output of TestBad is %q", got)
	}
	if _, err := readResults(strings.NewReader("no JSON\n"), io.Discard); err == nil {
		t.Error("what is no event was read without an error")
	}
}
