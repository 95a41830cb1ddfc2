package preview

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/autoscaler/simulate/chart"
)

// Preview is what to show.
type Preview struct {
	Schedules []*schedule.Schedule
	// From and To are the time to show, Windows is how many windows of it.
	From, To time.Time
	Windows  int
}

// moment is how the table has times.
const moment = "Mon 2006-01-02 15:04 MST"

// maxChanges bounds how many rows of bounds there are.
const maxChanges = 1000

// row is a time in which the bounds stay the same.
type row struct {
	from time.Time
	schedule.Bounds
}

// windows returns the windows that open before the end, or are open at the beginning.
func (p *Preview) windows() []schedule.Window {
	var all []schedule.Window
	for _, s := range p.Schedules {
		all = append(all, s.Next(p.From, p.Windows)...)
	}
	slices.SortStableFunc(all, func(a, b schedule.Window) int { return a.From.Compare(b.From) })
	all = slices.DeleteFunc(all, func(w schedule.Window) bool { return !w.From.Before(p.To) })
	return all[:min(p.Windows, len(all))]
}

// rows returns the bounds that result, one after the other.
func (p *Preview) rows() []row {
	lines := make([]*schedule.Timeline, len(p.Schedules))
	for i, s := range p.Schedules {
		lines[i] = schedule.NewTimeline(s)
	}
	var all []row
	for t := p.From; t.Before(p.To) && len(all) < maxChanges; {
		var b schedule.Bounds
		for _, line := range lines {
			b = b.With(line.At(t, 0))
		}
		r := row{t.In(p.zone()), b}
		if len(all) == 0 || !all[len(all)-1].same(r) {
			all = append(all, r)
		}
		if b.Change.IsZero() {
			break
		}
		t = b.Change
	}
	return all
}

func (r row) same(o row) bool {
	return r.Min == o.Min && r.Max == o.Max && r.MinBy.Entry == o.MinBy.Entry && r.MaxBy.Entry == o.MaxBy.Entry &&
		r.MinBy.Schedule == o.MinBy.Schedule && r.MaxBy.Schedule == o.MaxBy.Schedule
}

func (p *Preview) zone() *time.Location { return p.Schedules[0].Zone() }

// WriteTable prints the windows and the bounds.
func (p *Preview) WriteTable(to io.Writer) error {
	t := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, s := range p.Schedules {
		fmt.Fprintf(t, "%s, times in %s\n", s.Name(), s.Zone())
	}
	fmt.Fprintf(t, "\nWINDOW OPENS\tCLOSES\tOPEN FOR\tENTRY\tMIN\tMAX\n")
	windows := p.windows()
	for _, w := range windows {
		closes, open := "never", "ever"
		if !w.To.IsZero() {
			closes, open = w.To.Format(moment), length(w.To.Sub(w.From))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", w.From.Format(moment), closes, open, w.Entry, number(w.Min, 0), number(w.Max, 1))
	}
	if len(windows) == 0 {
		fmt.Fprintf(t, "none before %s\n", p.To.In(p.zone()).Format(moment))
	}
	fmt.Fprintf(t, "\nFROM\tMIN\tMAX\tBY\n")
	for _, r := range p.rows() {
		least, most := r.Apply(0, 0)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.from.Format(moment), number(least, 1), number(most, 1), r.by())
	}
	return t.Flush()
}

// by names the entries whose bounds these are.
func (r row) by() string {
	names := slices.DeleteFunc([]string{r.MinBy.Entry, r.MaxBy.Entry}, func(s string) bool { return s == "" })
	text := strings.Join(slices.Compact(names), ", ")
	if r.Max > 0 && r.Max < r.Min {
		text += " (the minimum wins)"
	}
	return cmp.Or(text, "-")
}

func number(n, least int) string {
	if n < least {
		return "-"
	}
	return strconv.Itoa(n)
}

// length writes a duration without zeros: 10h30m.
func length(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// points is about how many values of a series the picture has.
const points = 20_000

// Chart draws the bounds over the time.
func (p *Preview) Chart() *chart.Chart {
	seconds := p.To.Sub(p.From).Seconds()
	every := max(1, float64(int(seconds/points)))
	least := chart.Series{Name: "least", Colour: chart.Blue, Step: true, Fill: true, Every: every}
	most := chart.Series{Name: "most", Colour: chart.Vermillion, Step: true, Dashed: true, Every: every}
	rows, at, limited := p.rows(), 0, false
	for i := range int(seconds/every) + 1 {
		now := p.From.Add(time.Duration(float64(i)*every) * time.Second)
		for at+1 < len(rows) && !rows[at+1].from.After(now) {
			at++
		}
		low, high := 0, 0
		if len(rows) > 0 {
			low, high = rows[at].Apply(0, 0)
		}
		limited = limited || high > 0
		least.Y, most.Y = append(least.Y, float64(low)), append(most.Y, float64(high))
	}
	panel := chart.Panel{Title: "Replicas", Unit: "that schedules ask for", Series: []chart.Series{least}}
	if limited {
		panel.Unit += "; a largest number of 0 means that there is none"
		panel.Series = append(panel.Series, most)
	}
	c := &chart.Chart{Title: "Schedules", Seconds: seconds, Panels: []chart.Panel{panel}}
	for _, s := range p.Schedules {
		c.Subtitles = append(c.Subtitles, fmt.Sprintf("%s, times in %s", s.Name(), s.Zone()))
	}
	c.Axis = "times in " + p.zone().String()
	c.Mark = func(second float64) string {
		return p.From.Add(time.Duration(second) * time.Second).In(p.zone()).Format("01-02 15:04")
	}
	return c
}
