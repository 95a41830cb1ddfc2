package loop

import (
	"fmt"
	"hash/maphash"
	"math"
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/model"
)

// revision is what the loop knows of one.
type revision struct {
	scaled model.Scaled
	policy model.Scaling
	state  autoscaler.State
	phase  uint64 // the ticks, modulo period, on which it decides

	replicas int // asked for
	ready    int
	failing  bool // its replicas, and not for a moment
	metrics  []model.Scrape
	backed   time.Time
	woken    bool // it was without replicas until a request came

	loads       map[string]told // by reporter
	direct      load            // the newest figures of what reaches the replicas directly
	directKnown bool            // there were some
	directAt    time.Time
	complained  bool

	samples []model.Sample // since the last decision
	second  int64          // of the newest sample
	sampled load           // what that second was said to be
	signal  [1]model.Proposal

	last    model.Decision
	any     bool // there was a decision
	decided time.Time
}

var seed = maphash.MakeSeed()

// newRevision makes a revision that nothing is known of but what its status says.
func (l *Loop) newRevision(s model.Scaled, now time.Time) *revision {
	r := &revision{loads: map[string]told{}, phase: maphash.Comparable(seed, s.Revision) % period}
	if before := s.Before; before.Replicas != model.UnknownReplicas {
		r.replicas = before.Replicas
		r.state = autoscaler.Resume(autoscaler.Restart{
			Ready: before.Replicas, Active: before.Active, Since: before.Since, Initialized: before.Initialized,
		}, now)
	}
	return r
}

func (l *Loop) forget(r *revision) {
	delete(l.revisions, r.scaled.Revision)
	delete(l.awake, r)
	for _, from := range l.reporters {
		delete(from.seen, r)
	}
}

// rouse makes a revision take part in the ticks.
func (l *Loop) rouse(r *revision) { l.awake[r] = struct{}{} }

// sample records the load of this second. When the second has a sample already, the new one replaces it.
func (l *Loop) sample(r *revision, now time.Time) {
	direct, known := l.atReplicas(r, now)
	held := l.atActivators(r)
	r.signal[0] = model.Proposal{}
	if !known && !r.directKnown {
		// Nothing at all is known of what reaches the replicas: what activators hold can only ask for more.
		r.signal[0] = r.propose(held)
		return
	}
	seen := direct.plus(held)
	if r.scaled.Unreachable {
		seen.concurrency -= seen.streams // they end by a deadline, which is the runtime's to keep
	}
	seen.concurrency, seen.requests = max(0, seen.concurrency), max(0, seen.requests)
	if r.ready == 0 && seen.concurrency == 0 && seen.requests == 0 {
		return // nobody speaks of a revision that sleeps
	}
	sample := model.Sample{Time: now, Concurrency: seen.concurrency, Requests: seen.requests}
	if now.Unix() == r.second {
		sample.ReplacedConcurrency, sample.ReplacedRequests = r.sampled.concurrency, r.sampled.requests
	}
	r.second, r.sampled = now.Unix(), seen
	r.samples = append(r.samples, sample)
}

// hold notes the load of the seconds that no tick fell into since the one of that second, for a tick may be late: what was held
// then. The window would count them as seconds without load. One that is over begins anew, and has no such seconds.
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

// propose is the count that the load of activators alone asks for.
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

// keepAll has a decision that waiting requests ask for end no replica: the windows may still be made of the time before
// they came.
func (r *revision) keepAll() {
	if r.signal[0].Replicas < r.replicas {
		r.signal[0] = model.Proposal{Signal: "activator", Replicas: r.replicas, Why: "requests wait for a replica"}
	}
}

// decide asks for a decision and hands it on if it says anything new.
func (l *Loop) decide(r *revision, now time.Time) {
	o := autoscaler.Observation{
		Samples: r.samples, Replicas: r.replicas, Ready: r.ready,
		Unreachable: r.scaled.Unreachable, Failing: r.failing, BackedSince: r.backed,
	}
	if r.signal[0].Signal != "" {
		o.Signals = r.signal[:]
	}
	var d model.Decision
	d, r.state = autoscaler.Decide(&r.policy, r.state, &o, now)
	r.samples = r.samples[:0]
	before, first := r.last, !r.any
	r.last, r.any, r.decided, r.replicas = d, true, now, d.Replicas
	if d.Replicas > 0 || r.ready > 0 || d.Active.Status != model.False {
		l.rouse(r)
	} else if len(r.loads) == 0 {
		delete(l.awake, r)
	}
	if d.Replicas != before.Replicas { // before the first decision it was 0
		l.log.Info("scaling", "revision", r.scaled.Revision, "from", before.Replicas, "to", d.Replicas, "why", d.Why())
	}
	if first || news(&before, &d) {
		l.options.Decided(r.scaled.Revision, r.scaled.UID, d)
	}
}

// news says whether a decision differs from the one before in something that others act on.
func news(before, d *model.Decision) bool {
	return before.Replicas != d.Replicas || before.Via != d.Via || before.Active != d.Active ||
		before.Initialized != d.Initialized || d.Via == model.ViaActivator && before.Activators != d.Activators
}
