package loop

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"sluice.dev/sluice/autoscaler/forecast"
	"sluice.dev/sluice/autoscaler/predictive"
	"sluice.dev/sluice/model"
)

const (
	// lookEvery is how often forecasts are made again, in seconds. Each history has a second of the minute, so that no tick pays for all.
	lookEvery = int(predictive.Every / time.Second)
	// keepEvery is how often a history is kept.
	keepEvery = 10 * time.Minute
	// keepWithin bounds how long the end of the loop waits until all histories are kept.
	keepWithin = 10 * time.Second
)

// Archive keeps histories of the load beyond the process. Its methods may block, and are called from any goroutine.
type Archive interface {
	// Load returns what was kept for a Configuration, nil for nothing.
	Load(configuration model.Key) ([]byte, error)
	// Save keeps it in place of what was kept before.
	Save(configuration model.Key, data []byte) error
	// Remove drops it.
	Remove(configuration model.Key) error
}

// past is the load of all revisions of one Configuration, of which a new one takes over what the others had. It has no traffic of
// revisions that no Route names.
type past struct {
	owner   model.Key
	metric  model.Metric
	history forecast.History
	starts  []time.Duration // of the last starts, for the next revision
	users   map[*revision]struct{}
	second  int  // of the minute, in which the forecast is made again
	loaded  bool // what was kept before has been read, or there is none
	busy    bool // it is being kept
	kept    time.Time
}

// foreseen is what the history of its Configuration says of a revision.
type foreseen struct {
	past  *past
	peak  float64 // the greatest load since the last look; less than 0 when it is not known
	share float64 // its part of the Configuration's load, when there was some
	asks  model.Proposal
	renew bool // what it asks for has changed, and has to be shown
}

// recall has a revision use the history of its Configuration, if its policy forecasts the load, and no other one.
func (l *Loop) recall(r *revision, now time.Time) {
	p, wanted := r.foreseen.past, r.policy.Predictive != model.PredictiveOff
	if p != nil && wanted && p.metric == r.policy.Metric {
		return
	}
	l.neglect(r, !wanted)
	if !wanted {
		return
	}
	owner := r.scaled.Configuration
	p = l.pasts[owner]
	if p == nil {
		p = &past{owner: owner, users: map[*revision]struct{}{}, kept: now, metric: r.policy.Metric}
		p.second = int(maphash.Comparable(seed, owner) % uint64(lookEvery))
		l.pasts[owner] = p
		l.looks[p.second][p] = struct{}{}
		l.unread = append(l.unread, p)
	}
	if p.metric != r.policy.Metric { // figures in another unit are worth nothing
		p.metric, p.history = r.policy.Metric, forecast.History{}
	}
	p.users[r] = struct{}{}
	r.foreseen = foreseen{past: p, peak: unknownLoad}
	if len(r.startup.took) == 0 {
		r.startup.took = append(r.startup.took, p.starts...)
	}
}

const unknownLoad = -1.

// neglect has a revision use no history. When it was the last one, and none will follow, what was kept is dropped.
func (l *Loop) neglect(r *revision, gone bool) {
	p := r.foreseen.past
	if p == nil {
		return
	}
	r.foreseen = foreseen{}
	if delete(p.users, r); len(p.users) > 0 || !gone {
		return
	}
	delete(l.pasts, p.owner)
	delete(l.looks[p.second], p)
	if l.options.Archive != nil {
		l.dropped = append(l.dropped, p.owner)
	}
}

// noteLoad takes the load that a decision was made on.
func (r *revision) noteLoad(d *model.Decision) {
	if r.foreseen.past != nil && d.Fresh {
		r.foreseen.peak = max(r.foreseen.peak, d.Stable)
	}
}

// predict looks at the histories whose seconds have come since the last call.
func (l *Loop) predict(now time.Time) {
	sec := now.Unix()
	if l.predicted == 0 || sec-l.predicted > int64(lookEvery) || sec < l.predicted {
		l.predicted = sec - 1
	}
	for ; l.predicted < sec; l.predicted++ {
		for p := range l.looks[(l.predicted+1)%int64(lookEvery)] {
			l.look(p, now)
		}
	}
}

// look records the load since the last look, and has the revisions of a Configuration know what is expected.
func (l *Loop) look(p *past, now time.Time) {
	sum, routed, known := l.loadOf(p)
	if known && routed > 0 {
		p.history.Record(now, sum)
	}
	for r := range p.users {
		f := &r.foreseen
		switch {
		case r.scaled.Unreachable:
			f.share = 0
		case routed == 1:
			f.share = 1
		case known && sum > 0:
			f.share = f.peak / sum
		}
		f.peak = unknownLoad
		if len(r.startup.took) > 0 && !r.scaled.Unreachable {
			p.starts = append(p.starts[:0], r.startup.took...)
		}
		l.foresee(r, now)
	}
}

// loadOf returns the load of a Configuration since the last look, of how many revisions with traffic, and whether it is known of all.
func (l *Loop) loadOf(p *past) (sum float64, routed int, known bool) {
	known = true
	for r := range p.users {
		if r.scaled.Unreachable {
			continue
		}
		routed++
		if _, awake := l.awake[r]; !awake {
			r.foreseen.peak = 0 // the activators would have reported requests
		}
		known = known && r.foreseen.peak >= 0
		sum += r.foreseen.peak
	}
	return sum, routed, known
}

// expect makes the forecast of a revision between two looks: its history has been read, or Routes have begun or ended to name it. The only
// revision that they name has all of the load.
func (l *Loop) expect(r *revision, now time.Time) {
	if r.foreseen.past == nil {
		return
	}
	routed := 0
	for other := range r.foreseen.past.users {
		if !other.scaled.Unreachable {
			routed++
		}
	}
	if routed == 1 && !r.scaled.Unreachable {
		r.foreseen.share = 1
	}
	l.foresee(r, now)
}

// foresee makes the proposal of a revision, and has it decide when the count has changed.
func (l *Loop) foresee(r *revision, now time.Time) {
	f, before := &r.foreseen, r.foreseen.asks
	f.asks = model.Proposal{}
	if !r.scaled.Unreachable {
		f.asks = r.expects(now)
	}
	if f.asks.Replicas != before.Replicas || f.asks.Signal != before.Signal {
		f.renew = true
		l.decide(r, now)
	}
}

// expects returns the count for the load that is expected. Without a forecast it is not known.
func (r *revision) expects(now time.Time) model.Proposal {
	f := &r.foreseen
	return predictive.Propose(&r.policy, &f.past.history, f.share, r.startup.estimate(r.policy.ProgressDeadline), now)
}

// proposes says whether the forecast is a signal. While nothing is expected it is none: it must not keep what runs.
func (f *foreseen) proposes() bool { return f.asks.Signal == predictive.Signal && f.asks.Replicas >= 0 }

// showForecast adds a forecast that was no signal to what is shown.
func (r *revision) showForecast() {
	if f := &r.foreseen; f.asks.Signal != "" && !f.proposes() {
		r.signals = append(r.signals, f.asks)
	}
}

// archive reads the histories that have not been read, one after the other, and keeps those of this second of the minute that are due.
func (l *Loop) archive(running *sync.WaitGroup, now time.Time) {
	a := l.options.Archive
	if a == nil {
		return
	}
	for _, owner := range l.dropped {
		running.Go(func() { l.failed("drop", owner, a.Remove(owner)) })
	}
	l.dropped = l.dropped[:0]
	if len(l.unread) > 0 && !l.reading {
		unread := l.unread
		l.unread, l.reading = nil, true
		running.Go(func() {
			for _, p := range unread {
				l.restore(a, p)
			}
			l.post(func(time.Time) { l.reading = false })
		})
	}
	for p := range l.looks[now.Unix()%int64(lookEvery)] {
		if p.loaded && !p.busy && now.Sub(p.kept) >= keepEvery {
			p.busy, p.kept = true, now
			data := p.encode()
			running.Go(func() {
				l.failed("keep", p.owner, a.Save(p.owner, data))
				l.post(func(time.Time) { p.busy = false })
			})
		}
	}
}

// restore reads what was kept for a history. What cannot be read counts as nothing.
func (l *Loop) restore(a Archive, p *past) {
	data, err := a.Load(p.owner)
	var older past
	if err == nil && data != nil {
		err = older.decode(data)
	}
	l.failed("read", p.owner, err)
	l.post(func(now time.Time) {
		p.loaded = true
		if err != nil || data == nil || older.metric != p.metric {
			return
		}
		p.history.Continue(&older.history)
		for r := range p.users {
			if len(r.startup.took) == 0 {
				r.startup.took = append(r.startup.took, older.starts...)
			}
			l.expect(r, now)
		}
	})
}

// keepHistories keeps all histories, because the loop ends.
func (l *Loop) keepHistories(ctx context.Context) {
	for _, p := range l.pasts {
		if l.options.Archive == nil || ctx.Err() != nil {
			return
		}
		if p.loaded { // otherwise what was kept before is worth more
			l.failed("keep", p.owner, l.options.Archive.Save(p.owner, p.encode()))
		}
	}
}

func (l *Loop) failed(what string, owner model.Key, err error) {
	if err != nil {
		l.log.Warn("cannot "+what+" the history of the load", "configuration", owner, "error", err)
	}
}
