// Package chart draws stacked panels over one axis of time as an SVG that any browser shows and that stands on its own:
// no script, no font, no style sheet. It must not know what the figures mean.
//
// It exists because the usual plotting library for Go brings 6 MB of fonts into the binary.
package chart

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Colours that those who cannot tell red from green can tell apart (Okabe and Ito, "Color universal design", 2008).
const (
	Blue       = "#0072B2"
	Vermillion = "#D55E00"
	Green      = "#009E73"
	Orange     = "#E69F00"
	Purple     = "#CC79A7"
	Grey       = "#767676"
)

// Chart is a picture.
type Chart struct {
	Title, Subtitle string
	// Seconds is the length of the axis of time.
	Seconds float64
	Panels  []Panel
}

// Panel is one axis of values; it begins at 0.
type Panel struct {
	// Title names what is drawn and Unit its unit.
	Title, Unit string
	Series      []Series
	// Bands shade times; BandName is what they are.
	Bands    []Band
	BandName string
}

// Band is from one second to another.
type Band struct{ From, To float64 }

// Style is how a Series is drawn.
type Style int

// A Line joins its points, a Step holds each until the next, an Area is a Line that is filled.
const (
	Line Style = iota
	Step
	Area
)

// Series are values over time: Y[i] is that of second i.
type Series struct {
	Name, Colour string
	Style        Style
	Dashed       bool
	Y            []float64
}

// Measures of the picture, in pixels.
const (
	width       = 1000
	left, right = 64, 20
	top         = 66
	panelHeight = 116
	panelGap    = 40
	bottom      = 30
	plotWidth   = width - left - right
	letter      = 6.4 // the mean width of one at the size of a legend
	swatch      = 26
)

// drawing is an SVG that is being written.
type drawing struct {
	strings.Builder
	seconds float64
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// WriteSVG draws.
func (c *Chart) WriteSVG(to io.Writer) error {
	d := &drawing{seconds: max(1, c.Seconds)}
	height := top + len(c.Panels)*(panelHeight+panelGap) + bottom - panelGap/2
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="12">`, width, height, width, height)
	d.add(`<title>%s</title>`, html.EscapeString(c.Title))
	d.add(`<rect width="%d" height="%d" fill="#ffffff"/>`, width, height)
	d.text(left, 26, `font-size="17" font-weight="bold" fill="#222222"`, clip(c.Title, plotWidth/9.6))
	d.text(left, 45, `fill="#555555"`, clip(c.Subtitle, plotWidth/letter))
	for i := range c.Panels {
		d.panel(&c.Panels[i], float64(top+panelGap/2+i*(panelHeight+panelGap)), i == len(c.Panels)-1)
	}
	d.add(`</svg>`)
	_, err := io.WriteString(to, d.String())
	return err
}

// clip shortens a text that is longer than there is room for.
func clip(s string, most float64) string {
	if r := []rune(s); float64(len(r)) > most {
		return string(r[:int(most)-1]) + "…"
	}
	return s
}

func (d *drawing) text(x, y float64, attributes, s string) {
	d.add(`<text x="%s" y="%s" %s>%s</text>`, px(x), px(y), attributes, html.EscapeString(s))
}

// px is a coordinate: a tenth of a pixel is as fine as can be seen.
func px(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

func (d *drawing) x(second float64) float64 { return left + second/d.seconds*plotWidth }

func (d *drawing) panel(p *Panel, y float64, last bool) {
	base := y + panelHeight
	most, step := scale(p)
	for _, b := range p.Bands {
		d.add(`<rect x="%s" y="%s" width="%s" height="%d" fill="%s" fill-opacity="0.16"/>`, px(d.x(b.From)), px(y), px(max(1, d.x(b.To)-d.x(b.From))), panelHeight, Orange)
	}
	for v := 0.; v <= most*1.0001; v += step {
		at := base - v/most*panelHeight
		d.add(`<path d="M%d %sH%d" stroke="#e3e3e3"/>`, left, px(at), width-right)
		d.text(left-8, at+4, `text-anchor="end" fill="#555555"`, number(v, step))
	}
	d.timeAxis(base, last)
	for i := range p.Series {
		d.series(&p.Series[i], base, most)
	}
	d.text(left, y-8, `font-weight="bold" fill="#222222"`, p.Title)
	d.text(left+float64(len(p.Title))*7.6+4, y-8, `fill="#555555"`, p.Unit)
	d.legend(p, y-8)
}

// legend is written from the right.
func (d *drawing) legend(p *Panel, y float64) {
	x := float64(width - right)
	entry := func(name string, mark func(x float64)) {
		x -= float64(len(name)) * letter
		d.text(x, y, `fill="#333333"`, name)
		x -= swatch
		mark(x)
		x -= 16
	}
	if len(p.Bands) > 0 {
		entry(p.BandName, func(x float64) {
			d.add(`<rect x="%s" y="%s" width="20" height="10" fill="%s" fill-opacity="0.3"/>`, px(x), px(y-9), Orange)
		})
	}
	for i := len(p.Series) - 1; i >= 0; i-- {
		s := &p.Series[i]
		entry(s.Name, func(x float64) {
			d.add(`<path d="M%s %sh20" stroke="%s" stroke-width="2.4"%s/>`, px(x), px(y-4), s.Colour, dash(s))
		})
	}
}

func dash(s *Series) string {
	if s.Dashed {
		return ` stroke-dasharray="5 3"`
	}
	return ""
}

func (d *drawing) series(s *Series, base, most float64) {
	points := d.points(s, base, most)
	if points == "" {
		return
	}
	if s.Style == Area {
		d.add(`<path d="%sV%sH%dZ" fill="%s" fill-opacity="0.14"/>`, points, px(base), left, s.Colour)
	}
	d.add(`<path d="%s" fill="none" stroke="%s" stroke-width="1.6" stroke-linejoin="round"%s/>`, points, s.Colour, dash(s))
}

// points is the path of a series. Where several seconds share a pixel, the first, the least, the largest and the last of them are
// drawn, so that no spike is lost and a week is no longer than an hour.
func (d *drawing) points(s *Series, base, most float64) string {
	var b strings.Builder
	column, lastY := -1, math.NaN()
	put := func(i int) {
		x, y := px(d.x(float64(i))), base-min(s.Y[i], most)/most*panelHeight
		switch {
		case b.Len() == 0:
			fmt.Fprintf(&b, "M%s %s", x, px(y))
		case s.Style == Step && y == lastY:
			return
		case s.Style == Step:
			fmt.Fprintf(&b, "H%sV%s", x, px(y))
		default:
			fmt.Fprintf(&b, "L%s %s", x, px(y))
		}
		lastY = y
	}
	for i := 0; i < len(s.Y); {
		column = int(d.x(float64(i)))
		end := i + 1
		for end < len(s.Y) && int(d.x(float64(end))) == column {
			end++
		}
		for _, at := range extremes(s.Y, i, end) {
			if s.Style == Step || i == 0 || end == len(s.Y) || !flat(s.Y, at) {
				put(at)
			}
		}
		i = end
	}
	if s.Style == Step && len(s.Y) > 0 {
		fmt.Fprintf(&b, "H%s", px(d.x(float64(len(s.Y)-1))))
	}
	return b.String()
}

// flat says that a value equals both of its neighbours.
func flat(y []float64, i int) bool { return y[i-1] == y[i] && y[i] == y[i+1] }

// extremes are the indices in [from, to) of the first, the least, the largest and the last value, in order and each once.
func extremes(y []float64, from, to int) []int {
	if to-from == 1 {
		return []int{from}
	}
	low, high := from, from
	for i := from; i < to; i++ {
		if y[i] < y[low] {
			low = i
		}
		if y[i] > y[high] {
			high = i
		}
	}
	out := []int{from}
	for _, i := range []int{min(low, high), max(low, high), to - 1} {
		if i > out[len(out)-1] {
			out = append(out, i)
		}
	}
	return out
}
