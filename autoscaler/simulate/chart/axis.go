package chart

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// scale is the end of the axis of values and the distance of its marks: 1, 2 or 5 times a power of ten.
func scale(p *Panel) (most, step float64) {
	for _, s := range p.Series {
		for _, v := range s.Y {
			most = max(most, v)
		}
	}
	if most <= 0 || math.IsInf(most, 0) {
		return 1, 1
	}
	const marks = 4
	unit := math.Pow(10, math.Floor(math.Log10(most/marks)))
	step = unit * 10
	for _, f := range []float64{1, 2, 5} {
		if most/(f*unit) <= marks {
			step = f * unit
			break
		}
	}
	return math.Ceil(most/step*0.9999) * step, step
}

// number writes a mark with as many digits as its distance to the next needs.
func number(v, step float64) string {
	switch {
	case v == 0:
		return "0"
	case step >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', -1, 64) + " M"
	case step >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', -1, 64) + " k"
	case step >= 1:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', int(math.Ceil(-math.Log10(step))), 64)
}

// distances are those between marks of time that people count in, in seconds.
var distances = []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800,
	2592000}

func (d *drawing) timeAxis(base float64, labels bool) {
	const marks = 12
	at, _ := slices.BinarySearch(distances, d.seconds/marks)
	step := distances[min(at, len(distances)-1)]
	d.add(`<path d="M%d %sH%d" stroke="#888888"/>`, left, px(base), width-right)
	for t := 0.; t <= d.seconds; t += step {
		d.add(`<path d="M%s %sv4" stroke="#888888"/>`, px(d.x(t)), px(base))
		if labels {
			d.text(d.x(t), base+18, `text-anchor="middle" fill="#555555"`, d.mark(t))
		}
	}
	if labels {
		d.text(left+plotWidth/2, base+36, `text-anchor="middle" fill="#555555"`, d.axis)
	}
}

// moment writes a time: 90s is 1m30s.
func moment(t float64) string {
	s := int(t)
	days, hours, minutes, seconds := s/86400, s/3600%24, s/60%60, s%60
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit string
	}{{days, "d"}, {hours, "h"}, {minutes, "m"}, {seconds, "s"}} {
		if part.n > 0 {
			fmt.Fprintf(&b, "%d%s", part.n, part.unit)
		}
	}
	if b.Len() == 0 {
		return "0"
	}
	return b.String()
}
