package autoscaler

import (
	"time"

	"sluice.dev/sluice/model"
)

// State is what Decide remembers of one revision. The zero State is that of a new revision.
//
// A State has one owner: Decide takes ownership and returns it with its buffers reused, so that a decision allocates nothing. Clone it
// before to keep the old one.
type State struct {
	stable, panicked buckets
	metric           model.Metric
	delay            slidingMax

	// panicTime is when panic mode began or was last renewed, zero outside of it. maxPanic is the largest count since it began.
	panicTime time.Time
	maxPanic  int

	// decided says that desired and excess come from data.
	decided         bool
	desired, excess int

	// phase says whether the revision is activating, active or inactive, and since when; the zero phase is activating.
	phase phase
	since time.Time
	// initialized says that the initial scale was reached once.
	initialized bool
	// failed says that the revision is inactive because it did not become ready in time.
	failed bool

	// would is what the last decision would have had run, where observed: decisions of this revision change nothing.
	observed bool
	would    int
}

type phase uint8

const (
	activating phase = iota
	active
	inactive
)

// Restart is what is known of a revision that a control plane finds running when it starts.
type Restart struct {
	// Ready is how many replicas are ready.
	Ready int
	// Active is the status of the revision's condition Active, and Since when it changed; a zero Since counts as now, and
	// so does that of a revision that was being activated.
	Active model.Status
	Since  time.Time
	// Initialized says that the revision has been ready once.
	Initialized bool
}

// Resume makes the State of a revision that ran before this process started. With more than one replica it begins in panic mode, as
// Knative does, so that no replica ends before there are data of a stable window.
func Resume(r Restart, now time.Time) State {
	s := State{since: r.Since, initialized: r.Initialized}
	if s.since.IsZero() || s.since.After(now) {
		s.since = now
	}
	switch r.Active {
	case model.True:
		s.phase = active
	case model.False:
		s.phase = inactive
	default:
		s.since = now // no control plane drove it meanwhile, and its replicas may start again
	}
	if r.Ready > 1 {
		s.panicTime, s.maxPanic = now, r.Ready
	}
	return s
}

// Clone returns a State that shares nothing with this one.
func (s State) Clone() State {
	s.stable.ring = append([]float64(nil), s.stable.ring...)
	s.panicked.ring = append([]float64(nil), s.panicked.ring...)
	s.delay.entries = append([]maxEntry(nil), s.delay.entries...)
	return s
}

// prepare fits the windows to the policy, and the times to a clock that was set back.
func (s *State) prepare(p *model.Scaling, now time.Time) {
	stable, panicked := seconds(p.StableWindow), seconds(p.PanicWindow)
	if s.metric != p.Metric || len(s.stable.ring) != stable || len(s.panicked.ring) != panicked {
		s.stable, s.panicked, s.metric = newBuckets(stable), newBuckets(panicked), p.Metric
	}
	if s.since.IsZero() || s.since.After(now) {
		s.since = now
	}
	if s.panicTime.After(now) {
		s.panicTime = now
	}
	if now.Unix() <= s.stable.last-s.stable.size() {
		// The figures are of the future: they would count until that time.
		s.stable.clear()
		s.panicked.clear()
	}
}

// maxLoad bounds what a source may report. A larger figure is wrong, and would spoil the sums of a whole window.
const maxLoad = 1e9

// record adds the samples. A sample with a figure that is negative, not finite or over maxLoad is left out.
func (s *State) record(samples []model.Sample, now time.Time) {
	for i := range samples {
		sample := &samples[i]
		value, replaced := sample.Concurrency, sample.ReplacedConcurrency
		if s.metric == model.RPS {
			value, replaced = sample.Requests, sample.ReplacedRequests
		}
		if !(value >= 0 && value <= maxLoad && replaced >= 0 && replaced <= maxLoad) {
			continue
		}
		sec := min(sample.Time.Unix(), now.Unix())
		s.stable.record(sec, value-replaced)
		s.panicked.record(sec, value-replaced)
	}
}

// enter changes the phase, unless it is this one already.
func (s *State) enter(p phase, now time.Time) {
	if s.phase != p {
		s.phase, s.since = p, now
	}
}
