package simulate

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
)

func report(t *testing.T) *Report {
	t.Helper()
	o := options(t, func(_ *Shape, a map[string]string) { a["target"] = "5" })
	r, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	return &Report{Load: o.Load, Runs: []Named{{"a <first>", Describe(&o.Policy, 0), o.Policy, r}, {"b", "the same", o.Policy, r}}}
}

func TestEverySecondIsInCSVAndJSON(t *testing.T) {
	r := report(t)
	for every, want := range map[int]int{0: 601, 1: 601, 60: 11} {
		r.Every = every
		var b bytes.Buffer
		if err := r.WriteCSV(&b); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(records) != 2*want+1 {
			t.Errorf("every %d: %d lines of CSV, want %d (%v)", every, len(records), 2*want+1, err)
		}
		b.Reset()
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		var got struct{ Runs []Named }
		if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got.Runs) != 2 || len(got.Runs[0].Rows) != want ||
			got.Runs[1].Totals != r.Runs[1].Totals {
			t.Errorf("every %d: the JSON does not hold what was simulated: %v", every, err)
		}
	}
}

func TestPoliciesStandSideBySide(t *testing.T) {
	var b bytes.Buffer
	if err := report(t).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"policy  a <first>: target 3.5 of 5", "policy  b: the same", "\nrequests                  24000       24000\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := report(t).Chart().WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a &lt;first&gt;", "ready replicas × target 3.5", "ready, b", "panic mode"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in the chart", want)
		}
	}
}
