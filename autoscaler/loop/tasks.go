package loop

import (
	"time"

	"sluice.dev/sluice/autoscaler"
	"sluice.dev/sluice/model"
)

// tasks are the requests of a client as tasks.
func (s Load) tasks() autoscaler.Tasks {
	waiting := int(s.Waiting)
	return autoscaler.Tasks{Waiting: waiting, Running: max(0, int(s.InFlight)-waiting), Oldest: max(0, s.Oldest)}
}

// tasksOf is the sum of what all activators report of a revision. Each task is at one of them: whoever hands a task over does not report
// it.
func (l *Loop) tasksOf(r *revision) autoscaler.Tasks {
	sum := autoscaler.Tasks{Unknown: true}
	for _, from := range l.reporters {
		if from.activator {
			sum.Unknown = false
			break
		}
	}
	for name, seen := range r.loads {
		if from := l.reporters[name]; from == nil || !from.activator {
			continue
		}
		sum.Waiting += seen.tasks.Waiting
		sum.Running += seen.tasks.Running
		sum.Oldest = max(sum.Oldest, seen.tasks.Oldest)
	}
	return sum
}

// asksTasks returns the count of the class Event. activation-scale is the least number for a start from zero, as of any class.
func (l *Loop) asksTasks(r *revision, now time.Time) model.Proposal {
	p := r.tasks.Propose(&r.policy, l.tasksOf(r), now)
	if p.Replicas > 0 && r.ready == 0 {
		p.Replicas = max(p.Replicas, r.policy.ActivationScale)
	}
	return p
}

// reactToTasks decides at once when the tasks need more replicas than there are. The ticks do the rest.
func (l *Loop) reactToTasks(r *revision, now time.Time) {
	p := l.asksTasks(r, now)
	if p.Replicas > 0 {
		l.rouse(r)
	}
	if p.Replicas > r.replicas && (r.policy.MaxScale == 0 || r.replicas < r.policy.MaxScale) {
		l.decide(r, now)
	}
}
