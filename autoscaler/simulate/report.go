package simulate

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sluice.dev/sluice/model"
)

// Report is one simulation, or several of the same load to compare.
type Report struct {
	Load Load
	Runs []Named
	// Every is how many seconds lie between the rows that are written; 0 writes those in which something changed.
	Every int
	// Brief leaves the rows out of the table.
	Brief bool
}

// Named is the Result of one policy.
type Named struct {
	// Name says which policy it is; Policy describes it.
	Name, Policy string
	Scaling      model.Scaling
	*Result
}

// WriteTable writes rows and totals as text.
func (r *Report) WriteTable(to io.Writer) error {
	fmt.Fprintf(to, "load    %s for %s\n", r.Load.Name, short(r.Load.Length))
	for _, run := range r.Runs {
		fmt.Fprintf(to, "policy  %s\n", strings.Join(fields(run.Name, run.Policy), ": "))
	}
	for _, run := range r.Runs {
		if r.Brief {
			break
		}
		fmt.Fprintln(to)
		if len(r.Runs) > 1 {
			fmt.Fprintf(to, "%s\n", run.Name)
		}
		if err := r.writeRows(to, run.Rows); err != nil {
			return err
		}
	}
	fmt.Fprintln(to)
	return r.writeTotals(to)
}

func (r *Report) writeRows(to io.Writer, rows []Row) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "time\trps\tconcurrency\tdesired\tready\twaiting\texcess\tvia\tmode\t  why")
	for i := range rows {
		before := Row{}
		if i > 0 {
			before = rows[i-1]
		}
		row := &rows[i]
		if !r.wanted(i, row, &before) {
			continue
		}
		mode := "stable"
		if row.Panicking {
			mode = "panic"
		}
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", clock(row.Seconds), row.RPS, row.Concurrency,
			row.Desired, row.Ready, row.Waiting, row.ExcessBurstCapacity, row.Via, mode, note(row, before.Ready))
	}
	return w.Flush()
}

// wanted says whether a row is written.
func (r *Report) wanted(i int, row, before *Row) bool {
	if r.Every > 0 {
		return row.Seconds%r.Every == 0
	}
	return i == 0 || row.Desired != before.Desired || row.Ready != before.Ready || row.Via != before.Via ||
		row.Panicking != before.Panicking
}

// note says why the row is as it is: the sentence of a decision, or that replicas became ready.
func note(row *Row, before int) string {
	switch {
	case row.Seconds == 0:
		return "  the beginning"
	case row.Why != "":
		return "  " + row.Why
	case row.Ready > before:
		return fmt.Sprintf("  %d more ready", row.Ready-before)
	}
	return ""
}

// clock is a time since the beginning as h:mm:ss, without hours that are 0.
func clock(sec int) string {
	if sec < 3600 {
		return fmt.Sprintf("%d:%02d", sec/60, sec%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", sec/3600, sec/60%60, sec%60)
}

// figures are the lines of the totals.
var figures = []struct {
	name string
	text func(*Totals) string
}{
	{"requests", func(t *Totals) string { return strconv.Itoa(t.Requests) }},
	{"  timed out", func(t *Totals) string { return strconv.Itoa(t.TimedOut) }},
	{"  waiting at the end", func(t *Totals) string { return strconv.Itoa(t.Waiting) }},
	{"wait for a replica, p50", func(t *Totals) string { return wait(t.WaitP50) }},
	{"  p95", func(t *Totals) string { return wait(t.WaitP95) }},
	{"  p99", func(t *Totals) string { return wait(t.WaitP99) }},
	{"  mean", func(t *Totals) string { return wait(t.WaitMean) }},
	{"  longest", func(t *Totals) string { return wait(t.WaitMax) }},
	{"  over 1 s", func(t *Totals) string { return fmt.Sprintf("%.2f %%", t.OverSecond*100) }},
	{"cost, replica-seconds", func(t *Totals) string { return fmt.Sprintf("%.0f", t.ReplicaSeconds) }},
	{"  load / target", func(t *Totals) string { return fmt.Sprintf("%.0f", t.IdealReplicaSeconds) }},
	{"  ratio", func(t *Totals) string { return ratio(t.OverProvision) }},
	{"cold starts", func(t *Totals) string { return strconv.Itoa(t.ColdStarts) }},
	{"cold requests", func(t *Totals) string { return strconv.Itoa(t.ColdRequests) }},
	{"scale steps", func(t *Totals) string { return strconv.Itoa(t.ScaleSteps) }},
	{"most replicas", func(t *Totals) string { return strconv.Itoa(t.MostReplicas) }},
	{"in panic mode", func(t *Totals) string { return short(time.Duration(t.PanicSeconds) * time.Second) }},
}

func wait(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).String()
}

func ratio(v float64) string {
	if v == 0 {
		return "-" // there was no load
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *Report) writeTotals(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	if len(r.Runs) > 1 {
		for _, run := range r.Runs {
			fmt.Fprintf(w, "\t%s", run.Name)
		}
		fmt.Fprintln(w)
	}
	for _, f := range figures {
		fmt.Fprint(w, f.name)
		for _, run := range r.Runs {
			fmt.Fprintf(w, "\t%s", f.text(&run.Totals))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// fields returns the strings that are not empty.
func fields(all ...string) []string {
	var out []string
	for _, s := range all {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// WriteJSON writes all rows, or one in Every, and the totals of each policy.
func (r *Report) WriteJSON(to io.Writer) error {
	type run struct {
		Name   string `json:"name,omitempty"`
		Policy string `json:"policy"`
		Result
	}
	out := struct {
		Load    string  `json:"load"`
		Seconds float64 `json:"seconds"`
		Runs    []run   `json:"runs"`
	}{Load: r.Load.Name, Seconds: r.Load.Length.Seconds()}
	for _, n := range r.Runs {
		out.Runs = append(out.Runs, run{n.Name, n.Policy, Result{r.thinned(n.Rows), n.Totals}})
	}
	enc := json.NewEncoder(to)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func (r *Report) thinned(rows []Row) []Row {
	if r.Every <= 1 {
		return rows
	}
	var out []Row
	for i := 0; i < len(rows); i += r.Every {
		out = append(out, rows[i])
	}
	return out
}

// WriteCSV writes all rows, or one in Every.
func (r *Report) WriteCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	_ = w.Write([]string{"policy", "seconds", "rps", "concurrency", "stable", "panic", "desired", "ready", "starting", "waiting",
		"panicking", "excess_burst_capacity", "via", "reason", "replica_seconds", "ideal_replica_seconds", "why"}) // Flush has the error
	for _, run := range r.Runs {
		for _, row := range r.thinned(run.Rows) {
			_ = w.Write([]string{ // Flush has the error
				run.Name, strconv.Itoa(row.Seconds), strconv.Itoa(row.RPS), decimal(row.Concurrency),
				decimal(row.Stable), decimal(row.Panic),
				strconv.Itoa(row.Desired), strconv.Itoa(row.Ready), strconv.Itoa(row.Starting), strconv.Itoa(row.Waiting),
				strconv.FormatBool(row.Panicking), strconv.Itoa(row.ExcessBurstCapacity), string(row.Via), string(row.Reason),
				decimal(row.ReplicaSeconds), decimal(row.IdealReplicaSeconds), row.Why,
			})
		}
	}
	w.Flush()
	return w.Error()
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }
