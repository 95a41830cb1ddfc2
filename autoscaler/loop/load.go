package loop

import (
	"slices"
	"time"

	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/model"
)

// Report is what one client of the data plane says of the load that it sees.
type Report struct {
	// Reporter identifies the client, as long as it is connected.
	Reporter string
	// Activator says that it is one; others are gateways and gRPC clients, which count for revisions that take their load
	// from Envoy.
	Activator bool
	// Whole says that its figures hold requests to activators too, as those of Envoy's statistics do, which tell no zones.
	Whole bool
	// Loads are all revisions that it has anything to say of; of any other it sees no load.
	Loads []Load
	// Over is the time that it speaks of; 0 means a second or more.
	Over time.Duration
	// Ended says that the client is gone, and its load with it.
	Ended bool
}

// Load is the load of one revision as one client sees it.
type Load struct {
	Revision model.Key
	// Concurrency is the mean number of requests in progress, Streams the part of them that are streams (upgraded
	// connections and gRPC), Requests their number per second, and Waiting how many wait for a replica now.
	Concurrency, Streams, Requests, Waiting float64
	// Over is the time that Requests is the mean of; 0 means a second or more.
	Over time.Duration
}

// idle says that the client has no load.
func (r Report) idle() bool {
	return !slices.ContainsFunc(r.Loads, func(l Load) bool { return l.Concurrency != 0 || l.Requests != 0 })
}

// load is what one source, or all of them together, say of a revision.
type load struct{ concurrency, streams, requests float64 }

func (a load) plus(b load) load {
	return load{a.concurrency + b.concurrency, a.streams + b.streams, a.requests + b.requests}
}

// told is what one client says of a revision.
type told struct {
	load // but for requests, which pace has
	pace pace
}

func (t told) figures() load { return load{t.concurrency, t.streams, t.pace.perSecond()} }

// without is what is left of a without b, which was seen by others at another moment: never less than nothing.
func (a load) without(b load) load {
	return load{max(0, a.concurrency-b.concurrency), max(0, a.streams-b.streams), max(0, a.requests-b.requests)}
}

// reporter is a client that reports.
type reporter struct {
	activator bool
	whole     bool
	last      time.Time
	idle      bool                   // its last report told of no load
	seen      map[*revision]struct{} // what its last report spoke of
}

// known says that the figures of a reporter are those of now. One that is connected and idle may be silent, as gRPC's C++ and
// Python clients are until they have something to tell; one whose statistics are read is not connected.
func (r *reporter) known(now time.Time) bool {
	return now.Sub(r.last) < patience || r.idle && !r.whole
}

// Report takes what a client says. Requests that wait have their revision decide at once.
func (l *Loop) Report(r Report) {
	l.post(func(now time.Time) { l.takeReport(r, now) })
}

func (l *Loop) takeReport(report Report, now time.Time) {
	from := l.reporters[report.Reporter]
	if from == nil {
		if report.Ended {
			return
		}
		from = &reporter{activator: report.Activator, whole: report.Whole, seen: map[*revision]struct{}{}}
		l.reporters[report.Reporter] = from
		if !from.activator {
			l.gateways++
		}
	}
	from.last, from.idle = now, report.idle()
	before := from.seen
	from.seen = make(map[*revision]struct{}, len(report.Loads))
	for _, seen := range report.Loads {
		r := l.revisions[seen.Revision]
		if r == nil {
			continue // it is gone, or not known yet: the next report comes soon
		}
		delete(before, r)
		from.seen[r] = struct{}{}
		r.loads[report.Reporter] = told{
			load{concurrency: seen.Concurrency, streams: seen.Streams},
			r.loads[report.Reporter].pace.after(l.ticks, seen.Requests, seen.Over),
		}
		if from.activator || r.scaled.Source == model.FromEnvoy {
			l.heard(r, seen, now)
		}
	}
	for r := range before {
		pace := r.loads[report.Reporter].pace.after(l.ticks, 0, report.Over)
		if pace.perSecond() == 0 {
			delete(r.loads, report.Reporter)
			continue
		}
		from.seen[r] = struct{}{}
		r.loads[report.Reporter] = told{pace: pace}
	}
	if report.Ended {
		for r := range from.seen {
			delete(r.loads, report.Reporter)
		}
		delete(l.reporters, report.Reporter)
		if !from.activator {
			l.gateways--
		}
	}
}

// heard reacts to load that cannot wait for the next tick: the first of a revision without replicas, and requests that
// go on waiting.
func (l *Loop) heard(r *revision, seen Load, now time.Time) {
	if seen.Concurrency <= 0 && seen.Waiting <= 0 {
		return
	}
	l.rouse(r)
	if r.replicas == 0 || seen.Waiting > 0 && now.Sub(r.decided) >= early {
		r.woken = r.woken || r.replicas == 0
		l.sample(r, now)
		r.keepAll()
		l.decide(r, now)
	}
}

// scraped takes the load that a revision's queue-proxies tell.
func (l *Loop) scraped(result scrape.Result) {
	l.about(result.Revision, result.UID, func(r *revision, now time.Time) {
		if !result.OK {
			l.missing(r, now, result.Err)
			return
		}
		// What came through an activator is reported by that.
		r.direct = load{
			concurrency: result.Concurrency - result.ProxiedConcurrency,
			streams:     result.Streams - result.ProxiedStreams,
			requests:    result.Requests - result.ProxiedRequests,
		}
		r.directKnown, r.directAt = true, now
		if r.complained {
			r.complained = false
			l.log.Info("the load is known again", "revision", r.scaled.Revision)
		}
	})
}

// missing says once that the load of a revision cannot be learnt.
func (l *Loop) missing(r *revision, now time.Time, why error) {
	if r.complained || r.ready == 0 || now.Sub(r.directAt) < 10*patience {
		return
	}
	r.complained = true
	l.log.Warn("the load cannot be learnt; until it can, nothing scales down", "revision", r.scaled.Revision, "error", why)
}

// atReplicas is the load that reaches the replicas without an activator. It is not known when its source has not spoken
// for a while; the last that it said counts then.
func (l *Loop) atReplicas(r *revision, now time.Time) (sum load, known bool) {
	if r.ready == 0 {
		return load{}, true
	}
	if r.hidden() {
		return load{}, true
	}
	if r.scaled.Source != model.FromEnvoy {
		return r.direct, r.directKnown && now.Sub(r.directAt) < patience
	}
	known = l.gateways > 0
	var whole load
	for name, from := range l.reporters {
		switch {
		case from.activator:
			continue
		case from.whole:
			whole = whole.plus(r.loads[name].figures())
		default:
			sum = sum.plus(r.loads[name].figures())
		}
		known = known && from.known(now)
	}
	// One that is silent keeps its own figures, not those of others.
	if known || r.directKnown && l.gateways > 0 {
		if whole != (load{}) {
			sum = sum.plus(whole.without(l.atActivators(r)))
		}
		r.direct, r.directKnown = sum, true
	}
	return r.direct, known
}

// hidden says that nobody but activators has ever known of the replicas, since the revision was woken behind them.
func (r *revision) hidden() bool {
	return r.woken && !r.directKnown && !r.backed.IsZero() && !r.backed.After(r.directAt)
}

// atActivators is the load that activators hold or pass on.
func (l *Loop) atActivators(r *revision) (sum load) {
	for name, seen := range r.loads {
		if from := l.reporters[name]; from != nil && from.activator {
			sum = sum.plus(seen.figures())
		}
	}
	return sum
}
