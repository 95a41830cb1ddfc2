package process

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
)

// identity identifies a workload: a revision that was deleted and created again has another UID.
type identity struct {
	revision model.Key
	uid      string
}

// workload is what the owner goroutine knows of one revision.
type workload struct {
	spec     model.Workload
	slots    []*slot
	invalid  *model.Failure // why the workload cannot be run at all
	wasReady bool
	asked    time.Time   // when replicas were asked for while there were none
	start    model.Start // of the first replica that became ready after asked
	overdue  bool        // ProgressDeadline has passed and no replica was ever ready
	deadline *time.Timer
	streams  *time.Timer // until spec.StreamDeadline; nil without one
	missing  int         // replicas that the machine has no room for
	sent     model.WorkloadStatus
}

// slot is a place for one replica, from its start to its end.
type slot struct {
	number   int
	stop     func(streams time.Duration)
	cut      func()      // ends the streams in flight
	busy     func() bool // requests are in flight
	stopping bool
	state    report
	turned   time.Time // when it last became ready or unready
}

// report is the state of a replica, as the replica's goroutine reports it.
type report struct {
	ready    bool
	endpoint model.Endpoint
	metrics  string             // URL; empty without a queue-proxy
	started  time.Time          // when the serving container's process started
	since    time.Time          // when the replica became ready
	prober   *queueproxy.Prober // of the serving container; nil between two lives
	failure  *model.Failure     // of the life before, until the replica is ready again
	// containers are those that run; none between two lives.
	containers []family
}

// reconcile starts and stops replicas of spec's revision until there are spec.Replicas of spec's UID and none of others.
func (r *Runtime) reconcile(spec model.Workload) {
	if r.closing {
		return
	}
	r.exists(spec)
	id := identity{spec.Revision, spec.UID}
	for other, w := range r.workloads {
		if other.revision == id.revision && other.uid != id.uid && w.spec.Replicas > 0 {
			r.scale(w, 0)
		}
	}
	w := r.workloads[id]
	if w == nil {
		if spec.Replicas == 0 {
			return
		}
		w = &workload{}
		r.workloads[id] = w
		if spec.ProgressDeadline > 0 {
			w.deadline = time.AfterFunc(spec.ProgressDeadline, func() { r.inbox.post(func() { r.expire(w) }) })
		}
	}
	r.watchStreams(w, spec.StreamDeadline)
	w.spec = spec
	w.invalid = missingCommand(spec)
	r.scale(w, spec.Replicas)
}

// watchStreams sets the time at which the streams of w's replicas end; a zero time means never.
func (r *Runtime) watchStreams(w *workload, deadline time.Time) {
	if w.spec.StreamDeadline.Equal(deadline) {
		return
	}
	if w.streams != nil {
		w.streams.Stop()
		w.streams = nil
	}
	if deadline.IsZero() {
		return
	}
	w.streams = time.AfterFunc(time.Until(deadline), func() {
		r.inbox.post(func() {
			for _, s := range w.slots {
				s.cut()
			}
		})
	})
}

// streamDrain is how long the streams of a replica may go on after it begins to drain.
func (w *workload) streamDrain() time.Duration {
	streams := w.spec.StreamDrain
	if !w.spec.StreamDeadline.IsZero() {
		streams = min(streams, time.Until(w.spec.StreamDeadline))
	}
	return max(streams, time.Millisecond) // 0 would mean no bound
}

// scale starts or stops replicas of w. It stops those that are not ready first, then those without requests, and those with the highest
// numbers. A request that comes in between ends all the same: a replica drains before it ends.
func (r *Runtime) scale(w *workload, replicas int) {
	w.spec.Replicas = replicas
	if w.invalid != nil {
		replicas = 0
	}
	live := slices.DeleteFunc(slices.Clone(w.slots), func(s *slot) bool { return s.stopping })
	rank := make(map[*slot]int, len(live))
	if len(live) > replicas {
		for _, s := range live {
			rank[s] = s.worth()
		}
	}
	slices.SortStableFunc(live, func(a, b *slot) int { return cmp.Or(cmp.Compare(rank[b], rank[a]), cmp.Compare(a.number, b.number)) })
	for ; len(live) > replicas; live = live[:len(live)-1] {
		s := live[len(live)-1]
		s.stopping = true
		s.stop(w.streamDrain())
	}
	if len(live) == 0 && replicas > 0 {
		w.asked, w.start = time.Now(), model.Start{}
	}
	w.missing = max(0, replicas-len(live))
	for ; w.missing > 0 && r.hasCapacity(replicas-w.missing); w.missing-- {
		r.addReplica(w)
	}
	r.settle(w)
}

// worth is larger for a replica that is to stay longer.
func (s *slot) worth() int {
	switch {
	case !s.state.ready:
		return 0
	case !s.busy():
		return 1
	}
	return 2
}

// settle publishes w's status, and forgets w when it has no replicas and should have none.
func (r *Runtime) settle(w *workload) {
	r.publish(w)
	if len(w.slots) > 0 || w.spec.Replicas > 0 {
		return
	}
	for _, timer := range []*time.Timer{w.deadline, w.streams} {
		if timer != nil {
			timer.Stop()
		}
	}
	delete(r.workloads, identity{w.spec.Revision, w.spec.UID})
	r.checkIdle()
}

func (r *Runtime) addReplica(w *workload) {
	stop, cancel := context.WithCancel(r.killing)
	s := &slot{number: r.freeNumber(w.spec.Revision)}
	w.slots = append(w.slots, s)
	p := &replica{
		runtime: r, spec: w.spec, number: s.number,
		logger: r.opts.Logger.With("revision", w.spec.Revision.String(), "replica", s.number),
		report: func(state report) {
			r.inbox.post(func() {
				if s.turned.IsZero() || s.state.ready != state.ready {
					s.turned = time.Now()
				}
				s.state = state
				if w.note(state); w.wasReady {
					r.recordReady(w.spec)
				}
				r.publish(w)
			})
		},
	}
	if r.existing[w.spec.Revision] != w.spec.UID {
		p.settle = r.opts.Settle
	}
	s.cut, s.busy = p.cutStreams, p.isBusy
	s.stop = func(streams time.Duration) {
		p.streams.Store(int64(streams))
		cancel()
	}
	go func() { // ends after stop, which ends with killing at the latest
		defer cancel()
		p.run(stop)
		r.inbox.post(func() { r.removeReplica(w, s) })
	}()
}

// note records the readiness of a replica.
func (w *workload) note(state report) {
	if !state.ready {
		return
	}
	w.wasReady = true
	if w.start.Ready.IsZero() && !w.asked.IsZero() {
		w.start = model.Start{Asked: w.asked, Started: state.started, Ready: state.since}
	}
}

// freeNumber returns the lowest number that no replica of the revision has. Replicas with another UID count too, since the
// number names the log.
func (r *Runtime) freeNumber(revision model.Key) int {
	taken := map[int]bool{}
	for id, w := range r.workloads {
		for _, s := range w.slots {
			taken[s.number] = taken[s.number] || id.revision == revision
		}
	}
	number := 0
	for taken[number] {
		number++
	}
	return number
}

func (r *Runtime) removeReplica(w *workload, s *slot) {
	w.slots = slices.DeleteFunc(w.slots, func(other *slot) bool { return other == s })
	r.settle(w)
	r.fill()
}

// expire runs when the progress deadline has passed.
func (r *Runtime) expire(w *workload) {
	w.overdue = !w.wasReady
	r.publish(w)
}

func (r *Runtime) stopAll() {
	if r.closing {
		return
	}
	r.closing = true
	for _, w := range slices.Collect(maps.Values(r.workloads)) {
		r.scale(w, 0)
	}
	r.checkIdle()
}

func (r *Runtime) checkIdle() {
	if r.closing && len(r.workloads) == 0 {
		r.becomeIdle()
	}
}

// publish reports w's status if it changed.
func (r *Runtime) publish(w *workload) {
	status := model.WorkloadStatus{
		Revision: w.spec.Revision, UID: w.spec.UID, Running: len(w.slots), Failure: w.failure(), Notes: notes(w.spec), Short: r.short(w),
	}
	for _, s := range w.slots {
		if !s.state.ready || s.stopping {
			continue
		}
		status.Ready = append(status.Ready, s.state.endpoint)
		if s.state.metrics != "" {
			status.Metrics = append(status.Metrics, model.Scrape{URL: s.state.metrics, Since: s.state.since})
		}
	}
	if len(status.Ready) > 0 {
		status.Start = w.start
	}
	slices.SortFunc(status.Ready, func(a, b model.Endpoint) int { return cmp.Compare(a.Port, b.Port) })
	if reflect.DeepEqual(status, w.sent) {
		return
	}
	w.sent = status
	r.outbox.post(func() { r.opts.Status(status) })
}

// failure says why no replica is ready; nil if one is.
func (w *workload) failure() *model.Failure {
	if w.invalid != nil {
		return w.invalid
	}
	var failure *model.Failure
	for _, s := range w.slots {
		switch {
		case s.stopping:
		case s.state.ready:
			return nil
		case failure == nil:
			failure = s.state.failure
		}
	}
	if failure == nil && w.overdue && !w.wasReady && w.spec.Replicas > 0 {
		return w.exceeded()
	}
	return failure
}

func (w *workload) exceeded() *model.Failure {
	message := fmt.Sprintf("Revision %s was not ready within %s.", w.spec.Revision, w.spec.ProgressDeadline)
	for _, s := range w.slots {
		if s.state.prober == nil {
			continue
		}
		if err := s.state.prober.LastError(); err != nil {
			message += fmt.Sprintf(" Its last probe failed: %v. The container must listen on the port that $PORT names.", err)
			break
		}
	}
	return &model.Failure{Reason: "ProgressDeadlineExceeded", Message: message, Lasting: true}
}

// missingCommand is the failure of a workload that has no container, or a container without a command.
func missingCommand(w model.Workload) *model.Failure {
	if len(w.Containers) == 0 {
		return &model.Failure{Reason: "ContainerMissing", Lasting: true, Message: fmt.Sprintf("Revision %s has no container.", w.Revision)}
	}
	for i, c := range w.Containers {
		if len(c.Command) > 0 {
			continue
		}
		return &model.Failure{Reason: "ContainerMissing", Lasting: true, Message: fmt.Sprintf(
			"Container %q of revision %s has an image (%q) but no command. One machine runs processes, not images: "+
				"set containers[%d].command to the program to run.", c.Name, w.Revision, c.Image, i)}
	}
	return nil
}

// notes says which settings of the workload have no effect on one machine.
func notes(w model.Workload) []string {
	var notes []string
	if w.Direct && w.Concurrency > 0 {
		notes = append(notes, fmt.Sprintf("Only activators enforce containerConcurrency (%d): "+
			"with metrics-source envoy the replicas have no queue-proxy.", w.Concurrency))
	}
	for _, c := range w.Containers {
		if len(c.Limits) == 0 {
			continue
		}
		var limits []string
		for _, name := range slices.Sorted(maps.Keys(c.Limits)) {
			limits = append(limits, name+"="+c.Limits[name])
		}
		notes = append(notes,
			fmt.Sprintf("Container %q: resource limits (%s) are not enforced, because replicas are plain processes of one machine.",
				c.Name, strings.Join(limits, ", ")))
	}
	return notes
}
