package loop

import (
	"slices"
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/model"
)

// Report is the load that one client of the data plane sees.
type Report struct {
	// Reporter identifies the client, as long as it is connected.
	Reporter string
	// Activator says that the client is an activator. Others are gateways and gRPC clients, which count for revisions that take
	// their load from Envoy.
	Activator bool
	// Whole says that the figures include requests to activators, as those of Envoy's statistics do, which do not tell zones apart.
	Whole bool
	// Loads are the revisions for which the client sees load; it sees none for any other.
	Loads []Load
	// Over is the time that the report covers; 0 means a second or more.
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
	// InFlight is how many requests wait or run now, Oldest for how long the first of those that wait has waited.
	InFlight float64
	Oldest   time.Duration
	// Over is the time that Requests is the mean of; 0 means a second or more.
	Over time.Duration
}

// idle says that the client has no load.
func (r Report) idle() bool {
	return !slices.ContainsFunc(r.Loads, func(l Load) bool { return l.Concurrency != 0 || l.Requests != 0 })
}

// load is the load of a revision, from one source or from all of them together.
type load struct{ concurrency, streams, requests float64 }

func (a load) plus(b load) load {
	return load{a.concurrency + b.concurrency, a.streams + b.streams, a.requests + b.requests}
}

// minus is a less b, and never less than 0: the two may have been measured at different moments.
func (a load) minus(b load) load {
	return load{max(0, a.concurrency-b.concurrency), max(0, a.streams-b.streams), max(0, a.requests-b.requests)}
}

// reported is the load of a revision in the last report of one client.
type reported struct {
	load  // without requests, which are in pace
	pace  pace
	tasks autoscaler.Tasks
}

func (r reported) figures() load { return load{r.concurrency, r.streams, r.pace.perSecond()} }

// reporter is a client that reports.
type reporter struct {
	activator bool
	whole     bool
	last      time.Time              // its last report
	idle      bool                   // its last report had no load
	seen      map[*revision]struct{} // the revisions for which it has load
}

// known says that the figures of a reporter are current. A client that is connected and idle may be silent, as gRPC's C++ and
// Python clients are until they have load again. A reporter whose statistics we read is not connected.
func (r *reporter) known(now time.Time) bool {
	return now.Sub(r.last) < patience || r.idle && !r.whole
}

// Report takes the report of a client. When requests wait, their revision decides at once.
func (l *Loop) Report(r Report) {
	l.post(func(now time.Time) { l.takeReport(r, now) })
}

func (l *Loop) takeReport(report Report, now time.Time) {
	from := l.reporters[report.Reporter]
	if from == nil {
		if report.Ended {
			return
		}
		from = &reporter{activator: report.Activator, whole: report.Whole}
		l.reporters[report.Reporter] = from
		if !from.activator {
			l.gateways++
		}
	}
	from.last, from.idle = now, report.idle()
	before := from.seen
	from.seen = make(map[*revision]struct{}, len(report.Loads))
	l.takeLoads(report, from, before, now)
	l.fadeOut(report, from, before)
	if report.Ended {
		l.endReporter(report.Reporter, from)
	}
}

// takeLoads takes the loads of a report, and removes their revisions from those of the report before.
func (l *Loop) takeLoads(report Report, from *reporter, before map[*revision]struct{}, now time.Time) {
	for _, seen := range report.Loads {
		r := l.revisions[seen.Revision]
		if r == nil {
			continue // it is gone, or not known yet: the next report comes soon
		}
		delete(before, r)
		from.seen[r] = struct{}{}
		r.loads[report.Reporter] = reported{
			load{concurrency: seen.Concurrency, streams: seen.Streams},
			r.loads[report.Reporter].pace.after(l.ticks, seen.Requests, seen.Over), seen.tasks(),
		}
		switch {
		case r.policy.Class == autoscaler.Event:
			l.reactToTasks(r, now)
		case from.activator || r.scaled.Source == model.FromEnvoy:
			l.react(r, seen, now)
		}
	}
}

// fadeOut removes the load of revisions that a report no longer has. Their requests per second end when the second is over.
func (l *Loop) fadeOut(report Report, from *reporter, gone map[*revision]struct{}) {
	for r := range gone {
		pace := r.loads[report.Reporter].pace.after(l.ticks, 0, report.Over)
		if pace.perSecond() == 0 {
			delete(r.loads, report.Reporter)
			continue
		}
		from.seen[r] = struct{}{}
		r.loads[report.Reporter] = reported{pace: pace}
	}
}

// endReporter removes a client and all its load.
func (l *Loop) endReporter(name string, from *reporter) {
	for r := range from.seen {
		delete(r.loads, name)
	}
	delete(l.reporters, name)
	if !from.activator {
		l.gateways--
	}
}

// react decides at once on load that cannot wait for the next tick: the first load of a revision without replicas, and requests
// that go on waiting.
func (l *Loop) react(r *revision, seen Load, now time.Time) {
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

// scraped takes the load that a revision's queue-proxies report.
func (l *Loop) scraped(result scrape.Result) {
	l.about(result.Revision, result.UID, func(r *revision, now time.Time) {
		if !result.OK {
			l.missing(r, now, result.Err)
			return
		}
		// Activators report the requests that they pass on.
		r.direct = load{
			concurrency: result.Concurrency - result.ProxiedConcurrency,
			streams:     result.Streams - result.ProxiedStreams,
			requests:    result.Requests - result.ProxiedRequests,
		}
		r.directKnown, r.directAt = true, now
		if r.warned {
			r.warned = false
			l.log.Info("the load is known again", "revision", r.scaled.Revision)
		}
	})
}

// missing warns once that the load of a revision is unknown.
func (l *Loop) missing(r *revision, now time.Time, why error) {
	if r.warned || r.ready == 0 || now.Sub(r.directAt) < 10*patience {
		return
	}
	r.warned = true
	l.log.Warn("the load is unknown; until it is known, nothing scales down", "revision", r.scaled.Revision, "error", why)
}

// atReplicas is the load that reaches the replicas without an activator. It is not known when its source has been silent for some
// time; then the last figures are returned.
func (l *Loop) atReplicas(r *revision, now time.Time) (sum load, known bool) {
	if r.ready == 0 || r.hidden() {
		return load{}, true
	}
	if r.scaled.Source != model.FromEnvoy {
		return r.direct, r.directKnown && now.Sub(r.directAt) < patience
	}
	sum, known = l.atGateways(r, now)
	// A gateway that is silent keeps its own figures, whatever the others report.
	if known || r.directKnown && l.gateways > 0 {
		r.direct, r.directKnown = sum, true
	}
	return r.direct, known
}

// atGateways is the load that gateways and gRPC clients report, without what they send to activators. It is known when there is
// such a client and the figures of each are current.
func (l *Loop) atGateways(r *revision, now time.Time) (sum load, known bool) {
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
	if whole != (load{}) {
		sum = sum.plus(whole.minus(l.atActivators(r)))
	}
	return sum, known
}

// hidden says that requests have reached the replicas by activators alone, since the revision was woken.
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
