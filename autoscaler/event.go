package autoscaler

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// Event is the class whose revisions have as many replicas as there are tasks. It is ours, as EventIdle is.
const Event = "event.sluice.dev"

// The annotations of a revision of the class Event.
const (
	// EventIdle is for how many seconds a replica that no task needs stays: a number from 0 to maxEventIdle.
	EventIdle = "sluice.dev/event-idle-seconds"
	// EventWaiting is how many tasks may wait for the revision: a whole number from 1 to MaxEventWaiting.
	EventWaiting = "sluice.dev/event-max-waiting"
	// MaxEventWaiting is the largest value of EventWaiting.
	MaxEventWaiting = 1_000_000

	defaultEventIdle = 5 * time.Second
	maxEventIdle     = time.Hour
)

// metricsSource is where the load of a revision comes from. With the value envoy there is no queue-proxy.
const metricsSource, fromEnvoy = "sluice.dev/metrics-source", string(model.FromEnvoy)

// eventIdle returns how long a replica of the class Event stays without a task.
func eventIdle(annotations map[string]string) time.Duration {
	d, err := parseEventIdle(annotations[EventIdle])
	if err != nil {
		return defaultEventIdle
	}
	return d
}

func parseEventIdle(text string) (time.Duration, error) {
	v, err := parseFloat(text)
	if err != nil || v < 0 || v > maxEventIdle.Seconds() {
		return 0, fmt.Errorf("annotation %s is %q, want a number of seconds from 0 to %g", EventIdle, text, maxEventIdle.Seconds())
	}
	return time.Duration(v * float64(time.Second)), nil
}

// MaxWaiting returns how many tasks may wait for a revision with these annotations; 0 leaves it to the activator.
func MaxWaiting(annotations map[string]string) int {
	n, err := parseMaxWaiting(annotations[EventWaiting])
	if err != nil {
		return 0
	}
	return n
}

func parseMaxWaiting(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxEventWaiting {
		return 0, fmt.Errorf("annotation %s is %q, want a whole number from 1 to %d", EventWaiting, text, MaxEventWaiting)
	}
	return n, nil
}

// event checks the annotations of the class Event, and what does not go with it.
func (v *validator) event() {
	isEvent := ClassOf(v.config, v.annotations) == Event
	for _, a := range []struct {
		key   string
		check func(string) error
	}{
		{EventIdle, func(s string) error { _, err := parseEventIdle(s); return err }},
		{EventWaiting, func(s string) error { _, err := parseMaxWaiting(s); return err }},
	} {
		text, ok := v.annotations[a.key]
		switch {
		case !ok:
		case !isEvent:
			v.errs = append(v.errs, fmt.Errorf("annotation %s is for the class %s alone", a.key, Event))
		default:
			if err := a.check(text); err != nil {
				v.errs = append(v.errs, err)
			}
		}
	}
	if isEvent && v.annotations[metricsSource] == fromEnvoy {
		v.errs = append(v.errs, fmt.Errorf("annotation %s is %s, which the class %s does not have: its replicas need the limit of the "+
			"queue-proxy", metricsSource, fromEnvoy, Event))
	}
}

// eventPolicy makes the policy of the class Event. The load is not averaged, and requests always come by activators, so that the last
// replica may end as soon as no task has needed it for the idle time. A queue-proxy takes no more tasks than the concurrency says.
func eventPolicy(p *model.Scaling, t *Template) {
	p.EventIdle = eventIdle(t.Annotations)
	p.Metric, p.Aggregation = model.Concurrency, model.Linear
	p.Target = float64(max(1, t.Concurrency))
	p.Total = p.Target
	p.TargetBurstCapacity, p.Grace = -1, 0
	p.StableWindow = max(time.Second, p.EventIdle.Round(time.Second)) // the least time between start and zero
	p.PanicWindow = time.Second
}

// LedByTasks returns the policy by which Decide follows the count of Tasks within the bounds.
func LedByTasks(p model.Scaling) model.Scaling {
	led := Led(p, 0)
	led.TargetBurstCapacity, led.ActivationScale = p.TargetBurstCapacity, 0
	return led
}

// Tasks are the tasks of a revision at one moment, of all activators together.
type Tasks struct {
	// Waiting have no replica yet. Running are at replicas that take further tasks: not those at a replica that ends after its task.
	Waiting, Running int
	// Oldest is for how long the first of those that wait has waited.
	Oldest time.Duration
	// Unknown says that no activator reports.
	Unknown bool
}

// TaskCount makes the count of the class Event of the tasks at each moment: at once upwards, and downwards the largest count of the idle
// time. The zero value has seen nothing.
type TaskCount struct{ held []heldCount }

// heldCount is a count, and until when it was the newest one that was this large. The counts of a TaskCount fall strictly.
type heldCount struct {
	count int
	until time.Time
}

// maxHeld bounds the memory of a TaskCount. Beyond it a count is held for longer than the idle time, never for less.
const maxHeld = 64

// signalTasks is the name of the signal.
const signalTasks = "tasks"

// Resume has the replicas count that a control plane finds when it starts, since not all activators may have reported yet.
func (c *TaskCount) Resume(replicas int, now time.Time) {
	c.held = append(c.held[:0], heldCount{replicas, now})
}

// Propose returns the count that the tasks ask for: ceil((waiting + running) / concurrency), or the largest one of the idle time before.
// Without a report it has no data, which keeps what runs.
func (c *TaskCount) Propose(p *model.Scaling, tasks Tasks, now time.Time) model.Proposal {
	if tasks.Unknown {
		if len(c.held) > 0 {
			c.Resume(c.held[0].count, now) // until all have reported again
		}
		return model.Proposal{Signal: signalTasks, Replicas: model.UnknownReplicas, Why: "no activator reports"}
	}
	all := tasks.Waiting + tasks.Running
	want := int(min(math.Ceil(float64(all)/math.Max(1, p.Target)), math.MaxInt32))
	most := c.hold(want, p.EventIdle, now)
	why := &strings.Builder{}
	fmt.Fprintf(why, "%d wait", tasks.Waiting)
	if tasks.Waiting > 0 && tasks.Oldest > 0 {
		fmt.Fprintf(why, " (the oldest for %s)", tasks.Oldest.Round(time.Millisecond))
	}
	fmt.Fprintf(why, " and %d run, %g at a time on each replica", tasks.Running, math.Max(1, p.Target))
	if most > want {
		fmt.Fprintf(why, "; %d were needed within the last %s", most, p.EventIdle)
	}
	return model.Proposal{Signal: signalTasks, Replicas: most, Why: why.String()}
}

// hold records a count and returns the largest one that was the newest within the idle time.
func (c *TaskCount) hold(count int, idle time.Duration, now time.Time) int {
	if n := len(c.held); n > 0 && c.held[n-1].until.Before(now) {
		c.held[n-1].until = now // it was the newest until now
	}
	for len(c.held) > 0 && c.held[len(c.held)-1].count <= count {
		c.held = c.held[:len(c.held)-1]
	}
	if len(c.held) >= maxHeld {
		c.held[len(c.held)-1].until = now
	} else {
		c.held = append(c.held, heldCount{count, now})
	}
	first := 0
	for first < len(c.held)-1 && now.Sub(c.held[first].until) >= idle {
		first++
	}
	c.held = append(c.held[:0], c.held[first:]...)
	return c.held[0].count
}
