package loop

import "time"

const (
	// nearly is how much of a second counts as all of it: reports come a second apart, more or less.
	nearly = 0.9
	// hardly is how many requests per second are none, where they are what is left of a pace that went down.
	hardly = 0.001
)

// pace is how many requests per second a client has, by reports that each speak of a time of their own. An activator reports
// whenever a request begins to wait, of all revisions: one request in a millisecond would make a thousand a second. So what was
// told since the last tick is taken together, and for what it leaves open of a second the pace is what it was before.
type pace struct {
	tick           uint64 // since when it is
	count, seconds float64
	before         float64 // per second, until then
}

// after is the pace after one more report: of so many requests per second, over a time that is a second or more where it is 0.
func (p pace) after(tick uint64, requests float64, over time.Duration) pace {
	if tick != p.tick {
		p = pace{tick: tick, before: p.perSecond()}
	}
	seconds := over.Seconds()
	if seconds <= 0 {
		seconds = 1
	}
	p.count += requests * seconds
	p.seconds += seconds
	return p
}

func (p pace) perSecond() float64 {
	if p.seconds >= nearly {
		return p.count / p.seconds
	}
	if sum := p.count + p.before*(1-p.seconds); sum >= hardly {
		return sum
	}
	return 0
}
