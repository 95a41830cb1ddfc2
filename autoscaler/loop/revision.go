package loop

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/model"
)

// revision is what the loop knows of one revision.
type revision struct {
	scaled model.Scaled
	policy model.Scaling
	state  autoscaler.State
	phase  uint64 // the ticks, modulo period, on which it decides

	replicas int // asked for
	ready    int
	failing  bool // its replicas fail, and will go on failing
	scrapes  []model.Scrape
	backed   time.Time // since when activators back it; zero when they do not
	woken    bool      // it had no replicas until a request came

	loads       map[string]reported // by reporter
	direct      load                // the newest figures of the load that reaches the replicas directly
	directKnown bool                // there were some
	directAt    time.Time           // when they came, or when the first replica became ready
	warned      bool                // that the load is unknown

	samples []model.Sample       // since the last decision
	second  int64                // of the newest sample
	sampled load                 // the load in that sample
	waiting model.Proposal       // of the activators; its Signal is empty when they ask for nothing
	outside proposals            // of signals outside the loop, sorted by their names
	signals []model.Proposal     // of all signals beside the load, as the last decision had them
	asked   model.Proposal       // of the platform's own autoscaler; its Signal is empty when there is none
	scaler  scaler               // of the class HPA
	tasks   autoscaler.TaskCount // of the class Event
	usage   usage

	plan    planned // by schedules
	startup startup

	last       model.Decision
	hasDecided bool
	decided    time.Time
}

var seed = maphash.MakeSeed()

// newRevision makes a revision of which only its status is known.
func (l *Loop) newRevision(s model.Scaled, now time.Time) *revision {
	r := &revision{loads: map[string]reported{}, phase: maphash.Comparable(seed, s.Revision) % period}
	r.outside = l.takeAhead(s.Revision, s.UID)
	if before := s.Before; before.Replicas != model.UnknownReplicas {
		r.replicas = before.Replicas
		r.tasks.Resume(before.Replicas, now)
		r.state = autoscaler.Resume(autoscaler.Restart{
			Ready: before.Replicas, Active: before.Active, Since: before.Since, Initialized: before.Initialized,
		}, now)
	}
	return r
}

func (l *Loop) forget(r *revision) {
	delete(l.revisions, r.scaled.Revision)
	delete(l.awake, r)
	l.follow(r, nil, time.Time{})
	for _, from := range l.reporters {
		delete(from.seen, r)
	}
}

// rouse has a revision take part in the ticks.
func (l *Loop) rouse(r *revision) { l.awake[r] = struct{}{} }

// sample records the load of this second. When the second has a sample already, the new one replaces it.
func (l *Loop) sample(r *revision, now time.Time) {
	direct, known := l.atReplicas(r, now)
	held := l.atActivators(r)
	r.waiting = model.Proposal{}
	if !known && !r.directKnown {
		// The load at the replicas has never been known: the load of activators can only ask for more.
		r.waiting = r.propose(held)
		return
	}
	seen := direct.plus(held)
	if r.scaled.Unreachable {
		seen.concurrency -= seen.streams // the runtime ends them at a deadline
	}
	seen.concurrency, seen.requests = max(0, seen.concurrency), max(0, seen.requests)
	if r.ready == 0 && seen.concurrency == 0 && seen.requests == 0 {
		return // a revision without replicas and load needs no sample
	}
	sample := model.Sample{Time: now, Concurrency: seen.concurrency, Requests: seen.requests}
	if now.Unix() == r.second {
		sample.ReplacedConcurrency, sample.ReplacedRequests = r.sampled.concurrency, r.sampled.requests
	}
	r.second, r.sampled = now.Unix(), seen
	r.samples = append(r.samples, sample)
}

// hold records the load of the seconds since the last tick that no tick fell into, because a tick may be late. The last sample
// counts for them; without it the window would count them as seconds without load. After a whole window there is nothing to fill in.
func (r *revision) hold(ticked int64, now time.Time) {
	sec := now.Unix()
	if r.second < ticked || time.Duration(sec-r.second)*time.Second >= r.policy.StableWindow {
		return
	}
	for late := r.second + 1; late < sec; late++ {
		r.samples = append(r.samples, model.Sample{
			Time: time.Unix(late, 0), Concurrency: r.sampled.concurrency, Requests: r.sampled.requests,
		})
	}
}

// propose returns the count that the load of activators alone asks for.
func (r *revision) propose(held load) model.Proposal {
	amount := held.concurrency
	if r.policy.Metric == model.RPS {
		amount = held.requests
	}
	return model.Proposal{
		Signal: "activator", Replicas: int(min(math.Ceil(amount/r.policy.Target), math.MaxInt32)),
		Why: fmt.Sprintf("activators hold %s %.3g, and the load of the replicas is not known", r.policy.Metric, amount),
	}
}

// keepAll keeps a decision that waiting requests cause from ending a replica: the windows may still be full of the time before they
// came.
func (r *revision) keepAll() {
	if r.waiting.Replicas < r.replicas {
		r.waiting = model.Proposal{Signal: "activator", Replicas: r.replicas, Why: "requests wait for a replica"}
	}
}

// allSignals returns the counts that signals beside the load ask for now. A further signal is appended here. It averages over time
// itself, for Decide smooths the load alone, and proposes model.UnknownReplicas while it has no data.
func (r *revision) allSignals() []model.Proposal {
	r.signals = r.signals[:0]
	if r.waiting.Signal != "" {
		r.signals = append(r.signals, r.waiting)
	}
	if r.plan.floor.Signal != "" {
		r.signals = append(r.signals, r.plan.floor)
	}
	r.signals = append(r.signals, r.outside...)
	return r.signals
}

// decide asks for a decision, and hands it on when others have to act on it.
func (l *Loop) decide(r *revision, now time.Time) {
	d := l.ask(r, now)
	r.startup.asked(r.replicas, d.Replicas, r.ready, now)
	r.samples = r.samples[:0]
	before, first := r.last, !r.hasDecided
	r.last, r.hasDecided, r.decided, r.replicas = d, true, now, d.Replicas
	if d.Replicas > 0 || r.ready > 0 || d.Active.Status != model.False {
		l.rouse(r)
	} else if len(r.loads) == 0 {
		delete(l.awake, r)
	}
	if d.Replicas != before.Replicas { // before the first decision it was 0
		l.log.Info("scaling", "revision", r.scaled.Revision, "from", before.Replicas, "to", d.Replicas, "why", d.Why())
	}
	if d.Observing && d.Would != before.Would {
		l.log.Info("observing", "revision", r.scaled.Revision, "why", d.Why())
	}
	if first || changed(&before, &d) {
		d.Proposals = slices.Clone(r.signals) // the next decision writes over them
		l.options.Decided(r.scaled.Revision, r.scaled.UID, d)
	}
}

// changed says whether a decision differs from the one before in something that others act on.
func changed(before, d *model.Decision) bool {
	return before.Replicas != d.Replicas || before.Would != d.Would || before.Via != d.Via || before.Active != d.Active ||
		before.Initialized != d.Initialized || !same(before.HPA, d.HPA) || d.Via == model.ViaActivator && before.Activators != d.Activators
}

func same(a, b *model.HPA) bool { return a == b || a != nil && b != nil && *a == *b }
