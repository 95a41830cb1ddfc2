package loop

import "time"

const (
	// wholeSecond is how much of a second counts as all of it: reports come about a second apart.
	wholeSecond = 0.9
	// negligible is how many requests per second count as none. Without it a pace that goes down would never reach 0.
	negligible = 0.001
)

// pace is how many requests per second a client has. Its reports cover times of different lengths: an activator reports whenever a
// request begins to wait, and one request in a millisecond would make a thousand a second. So pace adds up the reports since the last
// tick, and takes the pace before for the rest of the second that they do not cover.
type pace struct {
	tick           uint64  // the last tick before these reports
	count, seconds float64 // requests since then, and the time that they cover
	before         float64 // requests per second until then
}

// after is the pace after one more report: so many requests per second, over a time that is a second or more where it is 0.
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
	if p.seconds >= wholeSecond {
		return p.count / p.seconds
	}
	if sum := p.count + p.before*(1-p.seconds); sum >= negligible {
		return sum
	}
	return 0
}
