package chart

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

func draw(t *testing.T, c *Chart) string {
	t.Helper()
	var b strings.Builder
	if err := c.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, b.String())
		}
	}
}

func TestEveryChartIsWellFormed(t *testing.T) {
	long := strings.Repeat("<a & b> ", 100)
	for name, c := range map[string]*Chart{
		"empty": {},
		"no values": {Title: long, Subtitles: []string{long},
			Panels: []Panel{{Title: long, Unit: long, Series: []Series{{Name: long}}}}},
		"one value":    {Seconds: 1, Panels: []Panel{{Series: []Series{{Y: []float64{1}}, {Step: true, Fill: true, Y: []float64{0}}}}}},
		"no finite":    {Seconds: 2, Panels: []Panel{{Series: []Series{{Y: []float64{1, math.Inf(1), 2}}}}}},
		"bands":        {Seconds: 9, Panels: []Panel{{Bands: []Band{{1, 2}}, BandName: long}}},
		"small values": {Seconds: 3, Panels: []Panel{{Series: []Series{{Dashed: true, Y: []float64{0, 0.001, 0.002}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if svg := draw(t, c); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("a coordinate is no number:\n%s", svg)
			}
		})
	}
}

func TestWeekIsSmallAndLosesNoSpike(t *testing.T) {
	y := make([]float64, 7*86400+1)
	for i := range y {
		y[i] = float64(i % 7)
	}
	y[123456] = 100
	svg := draw(t, &Chart{Seconds: float64(len(y) - 1), Panels: []Panel{{Title: "p", Series: []Series{{Y: y}, {Step: true, Y: y}}}}})
	if len(svg) > 120_000 {
		t.Errorf("%d bytes", len(svg))
	}
	// The axis ends at 100, so the spike touches the top of the panel.
	if top := px(top + panelGap/2); strings.Count(svg, " "+top+"L") != 1 || strings.Count(svg, "V"+top+"H") != 1 {
		t.Errorf("the spike is not drawn at %s", top)
	}
}

func TestScale(t *testing.T) {
	for most, want := range map[float64]string{
		0: "0..1 by 1", 1: "0..1 by 0.5", 20: "0..20 by 5", 21: "0..30 by 10", 768: "0..800 by 200", 0.3: "0..0.3 by 0.1",
	} {
		end, step := scale(&Panel{Series: []Series{{Y: []float64{0, most}}}})
		if got := fmt.Sprintf("0..%.3g by %.3g", end, step); got != want {
			t.Errorf("%v: %s, want %s", most, got, want)
		}
	}
}

func TestMoments(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0", 90: "1m30s", 3600: "1h", 5400: "1h30m", 86400: "1d"} {
		if got := moment(seconds); got != want {
			t.Errorf("%v: %s, want %s", seconds, got, want)
		}
	}
}
