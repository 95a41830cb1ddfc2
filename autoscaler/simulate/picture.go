package simulate

import (
	"fmt"
	"strings"

	"sluice.dev/sluice/autoscaler/simulate/chart"
	"sluice.dev/sluice/model"
)

// Chart draws the first simulation of a Report, and up to three others beside it, dashed.
func (r *Report) Chart() *chart.Chart {
	first := &r.Runs[0]
	rps := column(first, func(r *Row) float64 { return float64(r.RPS) })
	concurrency := column(first, func(r *Row) float64 { return r.Concurrency })
	desired, ready := func(r *Row) float64 { return float64(r.Desired) }, func(r *Row) float64 { return float64(r.Ready) }
	waiting := func(r *Row) float64 { return float64(r.Waiting) }
	c := &chart.Chart{
		Title:     "sluice simulate: " + strings.Join(fields(first.Name, r.Load.Name), ", "),
		Subtitles: []string{first.Policy}, Seconds: r.Load.Length.Seconds(),
		Panels: []chart.Panel{
			{Title: "Load", Unit: "requests/s", Series: []chart.Series{{Name: "arriving", Colour: chart.Blue, Fill: true, Y: rps}}},
			{Title: "Concurrency", Unit: "requests in progress or waiting", Series: []chart.Series{
				{Name: "measured", Colour: chart.Blue, Fill: true, Y: concurrency},
			}},
			{Title: "Replicas", Series: r.both("desired", "ready", desired, ready), Bands: panics(first.Rows), BandName: "panic mode"},
			{Title: "Waiting", Unit: "requests", Series: r.each("waiting for a replica", chart.Vermillion, waiting)},
			{Title: "Cost", Unit: "replica-seconds", Series: r.each("asked for", chart.Green, func(r *Row) float64 {
				return r.ReplicaSeconds
			})},
		},
	}
	cost := &c.Panels[len(c.Panels)-1]
	cost.Series = append(cost.Series, chart.Series{
		Name: "load / target", Colour: chart.Grey, Y: column(first, func(r *Row) float64 { return r.IdealReplicaSeconds }),
	})
	if first.Scaling.Target > 0 {
		load := &c.Panels[1]
		if first.Scaling.Metric == model.RPS {
			load = &c.Panels[0]
		}
		load.Series = append(load.Series, chart.Series{
			Name: fmt.Sprintf("ready replicas × target %.4g", first.Scaling.Target), Colour: chart.Green, Step: true,
			Y: column(first, func(r *Row) float64 { return float64(r.Ready) * first.Scaling.Target }),
		})
	}
	var others []string
	for i := range r.others() {
		others = append(others, r.others()[i].Name)
	}
	if len(others) > 0 {
		c.Subtitles = append(c.Subtitles, "dashed: "+strings.Join(others, ", "))
	}
	return c
}

// dashes are the colours of the simulations beside the first one.
var dashes = []string{chart.Purple, chart.Orange, chart.Green}

// others returns the simulations that are drawn beside the first one.
func (r *Report) others() []Named { return r.Runs[1:min(len(r.Runs), 1+len(dashes))] }

// both returns the two lines of replicas, and of other simulations only the ready ones: four lines are hard to read.
func (r *Report) both(desired, ready string, wanted, got func(*Row) float64) []chart.Series {
	out := []chart.Series{
		{Name: ready, Colour: chart.Blue, Step: true, Fill: true, Y: column(&r.Runs[0], got)},
		{Name: desired, Colour: chart.Vermillion, Step: true, Y: column(&r.Runs[0], wanted)},
	}
	for i := range r.others() {
		n := &r.others()[i]
		out = append(out, chart.Series{Name: ready + ", " + n.Name, Colour: dashes[i], Step: true, Dashed: true, Y: column(n, got)})
	}
	return out
}

// each returns one line per simulation.
func (r *Report) each(name, colour string, value func(*Row) float64) []chart.Series {
	out := []chart.Series{{Name: name, Colour: colour, Fill: true, Y: column(&r.Runs[0], value)}}
	for i := range r.others() {
		n := &r.others()[i]
		out = append(out, chart.Series{Name: n.Name, Colour: dashes[i], Dashed: true, Y: column(n, value)})
	}
	return out
}

func column(n *Named, value func(*Row) float64) []float64 {
	out := make([]float64, len(n.Rows))
	for i := range n.Rows {
		out[i] = value(&n.Rows[i])
	}
	return out
}

// panics returns the times in panic mode.
func panics(rows []Row) []chart.Band {
	var out []chart.Band
	for i := range rows {
		t := float64(rows[i].Seconds)
		switch {
		case !rows[i].Panicking:
		case len(out) > 0 && out[len(out)-1].To == t:
			out[len(out)-1].To = t + 1
		default:
			out = append(out, chart.Band{From: t, To: t + 1})
		}
	}
	return out
}
