package loop

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/autoscaler/scrape"
	"sluice.dev/sluice/model"
)

const (
	// tick is how often load is sampled: one bucket of a window.
	tick = time.Second
	// period is how many ticks lie between two decisions of a revision: two seconds, as in Knative.
	period = 2
	// early is the least time between two decisions that waiting requests cause. Within it the first replica may serve them.
	early = 100 * time.Millisecond
	// patience is how long a source may be silent before its figures count as missing.
	patience = 3 * time.Second
)

// Options of a Loop.
type Options struct {
	// Config holds for all revisions, until Configure replaces it; the zero value means autoscaler.DefaultConfig.
	Config autoscaler.Config
	Logger hclog.Logger
	// Decided gets every decision that differs from the one before in the replicas, in how requests reach the revision or in its
	// status. The loop's goroutine makes one call at a time; it must not block.
	Decided func(revision model.Key, uid string, d model.Decision)
	// Scrape asks replicas for their load and calls each with the results; nil where nothing is scraped.
	Scrape func(ctx context.Context, targets []scrape.Target, each func(scrape.Result))
	// Platform says that the runtime has an autoscaler of its own for revisions of the class HPA, as Kubernetes has.
	Platform bool
	// Usage measures what the replicas of revisions use, and calls each with what it knows; nil where nothing is measured. It is called
	// every UsagePeriod, with those revisions alone that are scaled on it; 0 means 5 s.
	Usage       func(ctx context.Context, revisions []model.Key, each func(model.Usage))
	UsagePeriod time.Duration
}

// Loop is made by New and driven by Run. Its other methods may be called from any goroutine, also before Run. They never block: the
// goroutine of Run carries them out in order.
type Loop struct {
	// Set once.
	options Options
	log     hclog.Logger
	wake    chan struct{}

	// Guarded by mu.
	mu    sync.Mutex
	inbox []func(now time.Time)

	// Only for the goroutine of Run.
	revisions map[model.Key]*revision
	awake     map[*revision]struct{}
	reporters map[string]*reporter
	gateways  int                    // reporters that are gateways
	ahead     map[identity]proposals // for revisions that are not here yet
	ticks     uint64
	ticked    int64 // the second of the last tick
	scraping  bool
	// The schedules that revisions follow, the revisions whose bounds change, when that was last looked at, and when the next alarm is.
	timetables  map[*model.Schedule]*timetable
	agenda      agenda
	kept, armed time.Time
	measuring   bool
	measured    time.Time // when the last round of Usage began
}

// New makes a Loop.
func New(o Options) *Loop {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Config == (autoscaler.Config{}) {
		o.Config = autoscaler.DefaultConfig()
	}
	o.UsagePeriod = cmp.Or(o.UsagePeriod, 5*time.Second)
	if o.Decided == nil {
		o.Decided = func(model.Key, string, model.Decision) {}
	}
	return &Loop{
		options: o, log: o.Logger, wake: make(chan struct{}, 1),
		revisions: map[model.Key]*revision{}, awake: map[*revision]struct{}{}, reporters: map[string]*reporter{},
		ahead: map[identity]proposals{}, timetables: map[*model.Schedule]*timetable{},
	}
}

// Run works until the context ends.
func (l *Loop) Run(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	alarm := time.NewTimer(tick)
	defer alarm.Stop()
	var scrapes sync.WaitGroup
	defer scrapes.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			l.mu.Lock()
			inbox := l.inbox
			l.inbox = nil
			l.mu.Unlock()
			now := time.Now()
			for _, do := range inbox {
				do(now)
			}
		case <-ticker.C:
			l.tick(time.Now())
			l.scrape(ctx, &scrapes)
			l.measure(ctx, &scrapes, time.Now())
		case <-alarm.C:
			l.armed = time.Time{}
			l.keepAgenda(time.Now())
		}
		l.arm(alarm)
	}
}

func (l *Loop) post(do func(now time.Time)) {
	l.mu.Lock()
	l.inbox = append(l.inbox, do)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Set adds or changes a revision, and decides at once.
func (l *Loop) Set(s model.Scaled) {
	l.post(func(now time.Time) {
		r := l.revisions[s.Revision]
		if r == nil || r.scaled.UID != s.UID {
			r = l.replace(r, s, now)
		}
		r.scaled = s
		r.policy = l.policy(r)
		l.follow(r, s.Schedules, now)
		l.decide(r, now)
	})
}

// policy returns the policy of a revision by the configuration of now.
func (l *Loop) policy(r *revision) model.Scaling {
	return autoscaler.Policy(&l.options.Config, autoscaler.Template{
		Annotations: r.scaled.Annotations, Concurrency: r.scaled.Concurrency, ProgressDeadline: r.scaled.ProgressDeadline,
	})
}

// Configure replaces the configuration. Revisions whose policy changes decide at once; what they know of their load stays.
func (l *Loop) Configure(c autoscaler.Config) {
	l.post(func(now time.Time) {
		if c == l.options.Config {
			return
		}
		l.options.Config = c
		changed := 0
		for _, r := range l.revisions {
			if p := l.policy(r); p != r.policy {
				r.policy = p
				changed++
				l.decide(r, now)
			}
		}
		l.log.Info("the autoscaler's configuration has changed", "revisions with another policy", changed)
	})
}

// replace makes a revision in place of the one that had its name, if there was one. Whether activators back it goes by the name, and
// is not reported again.
func (l *Loop) replace(old *revision, s model.Scaled, now time.Time) *revision {
	r := l.newRevision(s, now)
	if old != nil {
		if !old.backed.IsZero() {
			r.backed = now
		}
		l.forget(old)
	}
	l.revisions[s.Revision] = r
	return r
}

// Remove forgets a revision.
func (l *Loop) Remove(revision model.Key) {
	l.post(func(time.Time) {
		if r := l.revisions[revision]; r != nil {
			l.forget(r)
		}
	})
}

// Running takes what a runtime reports of a revision's replicas: how many are ready, where their load is scraped, whether they fail.
func (l *Loop) Running(s model.WorkloadStatus) {
	ready := len(s.Ready)
	l.about(s.Revision, s.UID, func(r *revision, now time.Time) {
		was := r.ready
		r.failing = s.Failure != nil && s.Failure.Lasting
		if was == 0 {
			r.directAt = now // from now on its load is awaited
		}
		r.ready, r.scrapes = ready, s.Metrics
		if r.startup.reached(ready, now) {
			l.replan(r, now)
		}
		if ready == 0 {
			r.direct, r.directKnown = load{}, false // those replicas are gone
		}
		asked := r.asked.Replicas != s.Asked.Replicas
		r.asked = s.Asked
		if was == 0 && ready > 0 || ready == 0 || asked {
			l.decide(r, now) // its status, and how requests reach it, follow
		}
	})
}

// Backed says whether, from now on, all requests of a revision reach an activator.
func (l *Loop) Backed(revision model.Key, yes bool) {
	l.post(func(now time.Time) {
		r := l.revisions[revision]
		switch {
		case r == nil:
		case !yes:
			r.backed = time.Time{}
		case r.backed.IsZero():
			r.backed = now
		}
	})
}

// about calls do with a revision, unless it is gone or another has its name.
func (l *Loop) about(key model.Key, uid string, do func(*revision, time.Time)) {
	l.post(func(now time.Time) {
		if r := l.revisions[key]; r != nil && r.scaled.UID == uid {
			do(r, now)
		}
	})
}

// Row is one revision in a Snapshot.
type Row struct {
	Revision model.Key
	Decision model.Decision
	// Ready is how many replicas are ready now.
	Ready int
	// Proposals are the counts that the signals beside the load ask for, as the newest decision had them.
	Proposals []model.Proposal
}

// Snapshot returns the newest decision of each revision, in no order; nil when the context ends before the loop answers.
func (l *Loop) Snapshot(ctx context.Context) []Row {
	answer := make(chan []Row, 1)
	l.post(func(time.Time) {
		rows := make([]Row, 0, len(l.revisions))
		for key, r := range l.revisions {
			rows = append(rows, Row{Revision: key, Decision: r.last, Ready: r.ready, Proposals: slices.Clone(r.signals)})
		}
		answer <- rows
	})
	select {
	case rows := <-answer:
		return rows
	case <-ctx.Done():
		return nil
	}
}

// tick samples all revisions that are awake, and has half of them decide.
func (l *Loop) tick(now time.Time) {
	l.ticks++
	l.keepAgenda(now)
	for r := range l.awake {
		r.hold(l.ticked, now)
		l.sample(r, now)
		if r.phase == l.ticks%period || r.policy.Class == autoscaler.Event {
			l.decide(r, now)
		}
	}
	l.ticked = now.Unix()
}

// scrape asks the replicas of awake revisions for their load. While a round goes on, no other begins.
func (l *Loop) scrape(ctx context.Context, running *sync.WaitGroup) {
	if l.options.Scrape == nil || l.scraping {
		return
	}
	targets := l.targets()
	if len(targets) == 0 {
		return
	}
	l.scraping = true
	running.Go(func() {
		l.options.Scrape(ctx, targets, l.scraped)
		l.post(func(time.Time) { l.scraping = false })
	})
}

func (l *Loop) targets() []scrape.Target {
	var targets []scrape.Target
	for r := range l.awake {
		if r.scaled.Source == model.FromEnvoy || len(r.scrapes) == 0 || r.led() {
			continue
		}
		targets = append(targets, scrape.Target{
			Revision: r.scaled.Revision, UID: r.scaled.UID, Window: r.policy.StableWindow, Replicas: r.scrapes,
		})
	}
	return targets
}
