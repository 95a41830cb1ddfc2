package loop

import (
	"math"
	"testing"
	"time"
)

// TestPaceDoesNotDependOnTheNumberOfReports reports 40 requests a second over two seconds in pieces.
func TestPaceDoesNotDependOnTheNumberOfReports(t *testing.T) {
	const requests = 40
	for name, pieces := range map[string][]time.Duration{
		"whole seconds":                 {time.Second, time.Second},
		"a bit less than a second":      {950 * time.Millisecond, 950 * time.Millisecond},
		"half a second":                 {500 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond},
		"a millisecond in between":      {999 * time.Millisecond, time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond},
		"a long one":                    {2 * time.Second},
		"a length that is not reported": {0, 0},
	} {
		var p pace
		var at time.Duration
		for _, over := range pieces {
			p = p.after(uint64(at/time.Second), requests, over)
			at += over
			if over == 0 {
				at += time.Second
			}
		}
		if got := p.perSecond(); math.Abs(got-requests) > 0.5 {
			t.Errorf("%s: got %v a second, want %d", name, got, requests)
		}
	}
}

func TestPaceOfAMomentIsNoThousandASecond(t *testing.T) {
	var p pace
	if got := p.after(1, 1000, time.Millisecond).perSecond(); got != 1 {
		t.Errorf("the first request of a millisecond makes %v a second, want 1", got)
	}
	p = p.after(1, 100, time.Second)
	if got := p.after(2, 1000, time.Millisecond).perSecond(); math.Abs(got-100.9) > 1e-9 {
		t.Errorf("one request in a millisecond after 100 a second makes %v, want 100.9", got)
	}
}

// TestPaceComesToNothing within three seconds, wherever the ticks fall between reports.
func TestPaceComesToNothing(t *testing.T) {
	for _, every := range []time.Duration{100 * time.Millisecond, 370 * time.Millisecond, 999 * time.Millisecond, 1001 * time.Millisecond} {
		p := pace{}.after(0, 1e6, time.Second)
		for at := time.Second; at < 4*time.Second; at += every {
			p = p.after(uint64(at/time.Second), 0, every)
		}
		if got := p.perSecond(); got != 0 {
			t.Errorf("reports every %v: still %v a second", every, got)
		}
	}
}
