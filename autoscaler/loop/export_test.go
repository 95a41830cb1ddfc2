package loop

import (
	"time"

	"sluice.dev/sluice/model"
)

// Ticker returns what a tick does, for a loop that does not run.
func Ticker(l *Loop) func(now time.Time) { return l.tick }

// Drain carries out the calls of a loop that does not run.
func Drain(l *Loop, now time.Time) {
	for _, do := range l.inbox {
		do(now)
	}
	l.inbox = nil
}

// Scraped has the figures of all replicas be of this moment.
func Scraped(l *Loop, now time.Time) {
	for r := range l.awake {
		r.direct, r.directKnown, r.directAt = load{concurrency: 20}, true, now
	}
}

// Last is the newest decision on a revision of a loop that does not run.
func Last(l *Loop, revision model.Key) model.Decision { return l.revisions[revision].last }

// Floor is the least count that schedules ask for.
func Floor(l *Loop, revision model.Key) int { return l.revisions[revision].plan.floor.Replicas }

// Agenda returns how many revisions await a change of their bounds, and how many schedules are followed.
func Agenda(l *Loop) (revisions, schedules int) {
	done := make(chan struct{})
	l.post(func(time.Time) { revisions, schedules = len(l.agenda), len(l.timetables); close(done) })
	<-done
	return revisions, schedules
}

// Used has what the replicas of awake revisions use be measured at this moment.
func Used(l *Loop, now time.Time) {
	replicas := []model.ReplicaUsage{{Ready: true, Request: 1000, Measured: true, CPU: 500, Memory: 100 << 20}}
	for r := range l.awake {
		r.usage.replicas, r.usage.at = replicas, now
		r.usage.signals.Record(&r.policy, replicas, now)
	}
}

// Ahead is for how many revisions that are not here there are proposals.
func Ahead(l *Loop) int { return len(l.ahead) }

// Restore reads all histories of a loop that does not run.
func Restore(l *Loop) {
	for _, p := range l.pasts {
		l.restore(l.options.Archive, p)
	}
}
