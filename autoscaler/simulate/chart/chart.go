// Package chart draws stacked panels over one axis of time as an SVG that any browser shows and that stands on its own:
// no script, no font, no style sheet. It must not know what the figures mean.
//
// It exists because the usual plotting library for Go brings 6 MB of fonts into the binary.
package chart

import (
	"cmp"
	"fmt"
	"html"
	"io"
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
	Title     string
	Subtitles []string
	// Seconds is the length of the axis of time.
	Seconds float64
	Panels  []Panel
	// Mark writes a second below the axis of time, and Axis is what it counts; by default the time since the beginning.
	Mark func(second float64) string
	Axis string
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

// Series are values over time: Y[i] is that of second i, or of second i*Every.
type Series struct {
	Name, Colour string
	// Step holds each value until the next instead of joining them; Fill fills what is below.
	Step, Fill, Dashed bool
	Y                  []float64
	Every              float64 // 0 means 1
}

// Measures of the picture, in pixels.
const (
	width       = 1000
	left, right = 64, 28
	top         = 46
	subtitle    = 18
	panelHeight = 116
	panelGap    = 40
	bottom      = 46
	plotWidth   = width - left - right
	swatch      = 26
	opacity     = "0.15" // of what is filled
)

// drawing is an SVG that is being written.
type drawing struct {
	strings.Builder
	seconds float64
	mark    func(second float64) string
	axis    string
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// WriteSVG draws.
func (c *Chart) WriteSVG(to io.Writer) error {
	d := &drawing{seconds: max(1, c.Seconds), mark: moment, axis: "time since the beginning"}
	if c.Mark != nil {
		d.mark, d.axis = c.Mark, c.Axis
	}
	begin := top + len(c.Subtitles)*subtitle
	height := begin + len(c.Panels)*(panelHeight+panelGap) + bottom - panelGap/2
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" `+
		`font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="12">`, width, height, width, height)
	d.add(`<title>%s</title>`, html.EscapeString(c.Title))
	d.add(`<rect width="%d" height="%d" fill="#ffffff"/>`, width, height)
	d.text(left, 26, `font-size="17" font-weight="bold" fill="#222222"`, clip(c.Title, plotWidth/1.55))
	for i, s := range c.Subtitles {
		d.text(left, float64(46+i*subtitle), `fill="#555555"`, clip(s, plotWidth))
	}
	for i := range c.Panels {
		d.panel(&c.Panels[i], float64(begin+panelGap/2+i*(panelHeight+panelGap)), i == len(c.Panels)-1)
	}
	d.add(`</svg>`)
	_, err := io.WriteString(to, d.String())
	return err
}

// clip shortens a text that is wider than some pixels.
func clip(s string, most float64) string {
	r := []rune(s)
	if extent(s) <= most {
		return s
	}
	for len(r) > 0 && extent(string(r))+12 > most {
		r = r[:len(r)-1]
	}
	return string(r) + "…"
}

// extent is about how wide a text is, in pixels at the size of 12: which font there is, only the reader's browser knows.
func extent(s string) float64 {
	sum := 0.
	for _, r := range s {
		switch {
		case strings.ContainsRune("fijlrtI.,:;'|()[]!/ -", r):
			sum += 4.2
		case strings.ContainsRune("mwMW%=+×", r):
			sum += 10
		default:
			sum += 7.2
		}
	}
	return sum
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
		d.add(`<rect x="%s" y="%s" width="%s" height="%d" fill="%s" fill-opacity="0.2"/>`,
			px(d.x(b.From)), px(y), px(max(1.5, d.x(b.To)-d.x(b.From))), panelHeight, Orange)
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
	d.add(`<text x="%d" y="%s"><tspan font-weight="bold" fill="#222222">%s</tspan><tspan dx="7" fill="#555555">%s</tspan></text>`,
		left, px(y-8), html.EscapeString(p.Title), html.EscapeString(p.Unit))
	d.legend(p, y-8)
}

// legend is written from the right.
func (d *drawing) legend(p *Panel, y float64) {
	x := float64(width - right)
	entry := func(name string, mark func(x float64)) {
		d.text(x, y, `text-anchor="end" fill="#333333"`, name)
		x -= extent(name) + swatch
		mark(x)
		x -= 12
	}
	if len(p.Bands) > 0 {
		entry(p.BandName, func(x float64) {
			d.add(`<rect x="%s" y="%s" width="20" height="10" fill="%s" fill-opacity="0.3"/>`, px(x), px(y-9), Orange)
		})
	}
	for i := len(p.Series) - 1; i >= 0; i-- {
		s := &p.Series[i]
		entry(s.Name, func(x float64) {
			if s.Fill {
				d.add(`<path d="M%s %sv-5h20v5z" fill="%s" fill-opacity="%s"/>`, px(x), px(y+1), s.Colour, opacity)
			}
			d.add(`<path d="M%s %sh20" stroke="%s" stroke-width="2.2"%s/>`, px(x), px(y-4), s.Colour, dash(s))
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
	if s.Fill {
		d.add(`<path d="%sV%sH%dZ" fill="%s" fill-opacity="%s"/>`, points, px(base), left, s.Colour, opacity)
	}
	d.add(`<path d="%s" fill="none" stroke="%s" stroke-width="1.6" stroke-linejoin="round"%s/>`, points, s.Colour, dash(s))
}

// points is the path of a series. Where several seconds share a pixel, the first, the least, the largest and the last of them are
// drawn, so that no spike is lost and a week is no longer than an hour.
func (d *drawing) points(s *Series, base, most float64) string {
	p, every := path{step: s.Step}, cmp.Or(s.Every, 1)
	for i, n := 0, len(s.Y); i < n; {
		end := i + 1
		for end < n && int(d.x(float64(end)*every)) == int(d.x(float64(i)*every)) {
			end++
		}
		for _, at := range extremes(s.Y, i, end) {
			if s.Step || i == 0 || end == n || !flat(s.Y, at) {
				p.add(d.x(float64(at)*every), base-min(s.Y[at], most)/most*panelHeight)
			}
		}
		i = end
	}
	if s.Step && len(s.Y) > 0 {
		fmt.Fprintf(&p, "H%s", px(d.x(float64(len(s.Y)-1)*every)))
	}
	return p.String()
}

// path is one that is being written.
type path struct {
	strings.Builder
	step  bool
	lastY float64
}

func (p *path) add(x, y float64) {
	switch {
	case p.Len() == 0:
		fmt.Fprintf(p, "M%s %s", px(x), px(y))
	case !p.step:
		fmt.Fprintf(p, "L%s %s", px(x), px(y))
	case y != p.lastY:
		fmt.Fprintf(p, "H%sV%s", px(x), px(y))
	}
	p.lastY = y
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
