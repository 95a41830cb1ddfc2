package simulate

import (
	"fmt"
	"math"
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/schedule"
	"sluice.dev/sluice/model"
)

const (
	// sampling and deciding are how often load is measured and decided on, in seconds (knative.dev/serving,
	// pkg/autoscaler/metrics/collector.go and scaling/multiscaler.go).
	sampling = 1
	deciding = 2 * sampling
	// resolution is the tick of the model where all latencies are multiples of it.
	resolution = 10 * time.Millisecond
	// maxReplicas bounds a simulation: a policy that asks for more has a mistake in it.
	maxReplicas = 100_000
)

// epoch is when a simulation begins that does not say when.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Options describe one simulation.
type Options struct {
	Policy model.Scaling
	// Concurrency is containerConcurrency: how many requests a replica works on at a time; 0 means no limit.
	Concurrency int
	Load        Load
	// Startup is how long a replica takes from the decision until it is ready, Jitter how much longer at most.
	Startup, Jitter time.Duration
	// Timeout is how long a request may wait for a replica.
	Timeout time.Duration
	// Seed is for what is random: the jitter.
	Seed uint64
	// Start is how many replicas are ready at the beginning: of a revision that has just become active, or, with 0, of an inactive
	// one. UnknownReplicas is as many as a new revision begins with.
	Start int
	// Begin is when the load begins, by the clock of schedules and forecasts; the zero time is the beginning of 2000 in UTC.
	Begin time.Time
	// Schedules are followed. Whether forecasts are made is in the Policy.
	Schedules []*schedule.Schedule
}

func (o *Options) check() error {
	switch {
	case len(o.Load.Steps) == 0 || o.Load.Length <= 0 || o.Load.Length > MaxLength:
		return fmt.Errorf("the load goes on for %v, want more than 0 and at most %v", o.Load.Length, MaxLength)
	case o.Startup < 0 || o.Startup > maxStartup || o.Jitter < 0 || o.Jitter > maxStartup:
		return fmt.Errorf("start-up takes %v and up to %v more, want each from 0 to %v", o.Startup, o.Jitter, maxStartup)
	case o.Timeout < time.Second || o.Timeout > time.Hour:
		return fmt.Errorf("requests time out after %v, want 1s to 1h", o.Timeout)
	case o.Start > maxReplicas:
		return fmt.Errorf("%d replicas to start with, want at most %d", o.Start, maxReplicas)
	}
	return o.Load.check()
}

func (l *Load) check() error {
	for _, s := range l.Steps {
		if s.Latency < time.Millisecond || s.Latency > MaxLatency {
			return fmt.Errorf("a request at %v takes %v, want 1ms to %v", s.At, s.Latency, MaxLatency)
		}
	}
	return nil
}

// Run runs a simulation.
func Run(o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := newMachine(&o)
	if err := m.begin(); err != nil {
		return nil, err
	}
	for end := m.ticks((o.Load.Length + time.Second - 1).Truncate(time.Second)); m.now < end; {
		m.tick()
		if m.err != nil {
			return nil, m.err
		}
	}
	return m.result(), nil
}

// machine is a running simulation.
type machine struct {
	*Options
	// step is the length of a tick; now is how many ticks have passed.
	step      time.Duration
	origin    time.Time
	perSecond int64
	now       int64
	err       error

	at    int // index of the current step of the load
	carry float64

	cost     int64 // replicas that were asked for, summed over the ticks
	queue    queue
	replicas replicas

	state       autoscaler.State
	decision    model.Decision
	observation autoscaler.Observation
	woken       int64 // the second of the last decision at once
	ahead       ahead
	second      second
	rows        []Row
	totals      Totals
}

// second is what is measured in the current second.
type second struct {
	arrived int
	busy    int // requests in progress or waiting, summed over the ticks
	early   int // requests that were reported at once
	demand  float64
	// why is the sentence of the last decision of this second that changed something.
	why string
}

func newMachine(o *Options) *machine {
	m := &machine{Options: o, step: resolution, woken: -1}
	longest := time.Duration(0)
	for _, s := range o.Load.Steps {
		m.step = gcd(m.step, wholeMillis(s.Latency))
		longest = max(longest, wholeMillis(s.Latency))
	}
	m.perSecond = int64(time.Second / m.step)
	if m.origin = o.Begin; m.origin.IsZero() {
		m.origin = epoch
	}
	m.ahead = newAhead(o.Schedules)
	m.queue = queue{ends: make([]int, m.ticks(longest)+1), timeout: m.ticks(o.Timeout)}
	m.replicas = replicas{startup: m.ticks(o.Startup), jitter: m.ticks(o.Jitter), seed: o.Seed}
	m.rows = make([]Row, 0, int(o.Load.Length/time.Second)+2)
	return m
}

// ticks returns how many ticks a duration takes, rounded up.
func (m *machine) ticks(d time.Duration) int64 { return int64((d + m.step - 1) / m.step) }

func (m *machine) clock() time.Time { return m.origin.Add(time.Duration(m.now) * m.step) }

func gcd(a, b time.Duration) time.Duration {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// begin makes the first decision, before any load is known.
func (m *machine) begin() error {
	start := m.Start
	if start < 0 {
		start = max(m.Policy.InitialScale, m.Policy.MinScale)
	}
	before := autoscaler.Restart{Ready: min(start, 1), Active: model.True, Since: m.origin, Initialized: true}
	if start == 0 {
		before.Active, before.Since = model.False, m.origin.Add(-time.Hour)
	}
	m.state = autoscaler.Resume(before, m.origin)
	m.replicas.asked, m.replicas.ready = start, start
	m.observation.BackedSince = before.Since
	m.ahead.changes(m, m.origin)
	m.decide()
	m.totals.ScaleSteps = 0
	m.record(0)
	m.observation.Quiet = true
	return m.err
}

// tick is one step of time: requests end, replicas become ready, requests arrive and find a replica or wait.
func (m *machine) tick() {
	load := m.load()
	m.queue.finish(m.now)
	m.replicas.settle(m.now)
	seconds := m.step.Seconds()
	m.carry += load.RPS * seconds
	n := int(m.carry + 1e-9) // a rounding error must not delay a request
	m.carry -= float64(n)
	m.queue.arrive(m.now, n, m.ticks(load.Latency))
	if m.replicas.asked == 0 && m.queue.waiting > 0 {
		m.wake()
	}
	m.queue.expire(m.now)
	m.queue.admit(m.now, m.free())

	s := &m.second
	s.arrived += n
	if m.replicas.ready == 0 {
		m.totals.ColdRequests += n
	}
	s.busy += m.queue.running + m.queue.waiting
	s.demand += m.demand(load) * seconds
	m.cost += int64(m.replicas.asked)
	m.now++
	if m.now%m.perSecond == 0 {
		m.endSecond(m.now / m.perSecond)
	}
}

// load returns the current step of the load.
func (m *machine) load() Step {
	steps, now := m.Load.Steps, time.Duration(m.now)*m.step
	for m.at+1 < len(steps) && steps[m.at+1].At <= now {
		m.at++
	}
	if steps[m.at].At > now || now >= m.Load.Length {
		return Step{Latency: steps[m.at].Latency}
	}
	return steps[m.at]
}

// demand returns the load in units of the target.
func (m *machine) demand(s Step) float64 {
	if m.Policy.Metric == model.RPS {
		return s.RPS
	}
	return s.RPS * s.Latency.Seconds()
}

// free returns how many more requests the replicas can take. The replicas that stay are the busiest ones, so running requests count
// against them first.
func (m *machine) free() int {
	switch {
	case m.replicas.ready == 0:
		return 0
	case m.Concurrency == 0:
		return m.queue.waiting
	}
	return max(0, m.replicas.ready*m.Concurrency-m.queue.running)
}

// wake decides at once, for a request that finds no replica. As Knative's activator does it, that one request is reported
// alone and left out of the next report (pkg/activator/handler/concurrency_reporter.go).
func (m *machine) wake() {
	if now := m.now / m.perSecond; now != m.woken {
		m.woken = now
		m.second.early++
		m.observation.Samples = append(m.observation.Samples, model.Sample{Time: m.clock(), Concurrency: 1, Requests: 1})
		m.decide()
		if m.replicas.asked > 0 {
			m.totals.ColdStarts++
		}
		m.replicas.settle(m.now)
	}
}

// endSecond measures the second that is over, decides on every second tick, and records a row.
func (m *machine) endSecond(sec int64) {
	m.replicas.settle(m.now)
	s := m.second
	// Without a replica and a request nobody reports.
	if m.replicas.ready > 0 || s.busy > 0 {
		m.observation.Samples = append(m.observation.Samples, model.Sample{
			Time:        m.clock(),
			Concurrency: max(0, float64(s.busy)/float64(m.perSecond)-float64(s.early)),
			Requests:    float64(max(0, s.arrived-s.early)),
		})
	}
	if changed := m.ahead.changes(m, m.clock()); changed || sec%deciding == 0 {
		m.decide()
	}
	if m.decision.Panicking {
		m.totals.PanicSeconds++
	}
	m.totals.IdealReplicaSeconds += m.second.demand / m.target()
	m.record(int(sec))
	m.second = second{}
}

func (m *machine) target() float64 { return max(m.Policy.Target, math.SmallestNonzeroFloat64) }

// decide asks the autoscaler and does what it says.
func (m *machine) decide() {
	o, before := &m.observation, m.decision
	o.Replicas, o.Ready = m.replicas.asked, m.replicas.ready
	policy := m.ahead.limited(&m.Policy)
	o.Signals = m.ahead.signals(o.Signals[:0])
	m.decision, m.state = autoscaler.Decide(policy, m.state, o, m.clock())
	o.Samples = o.Samples[:0]
	d := &m.decision
	m.ahead.note(d, policy.MaxScale != m.Policy.MaxScale)
	d.Stable, d.Panic = max(0, d.Stable), max(0, d.Panic) // rounding may leave a -0, which looks odd in a sentence
	// Clients are taken to acknowledge the activator at once.
	if d.Via != model.ViaActivator {
		o.BackedSince = time.Time{}
	} else if o.BackedSince.IsZero() {
		o.BackedSince = m.clock()
	}
	if d.Replicas > maxReplicas {
		m.err = fmt.Errorf("after %v the policy asks for %d replicas, and at most %d can be simulated: set max-scale, or a larger target",
			time.Duration(m.now)*m.step, d.Replicas, maxReplicas)
		return
	}
	if d.Replicas != m.replicas.asked {
		m.totals.ScaleSteps++
	}
	if d.Replicas != m.replicas.asked || d.Via != before.Via || d.Panicking != before.Panicking {
		m.second.why = d.Why()
	}
	m.replicas.scale(m.now, d.Replicas)
	m.totals.MostReplicas = max(m.totals.MostReplicas, d.Replicas)
}
