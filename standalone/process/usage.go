package process

import (
	"context"
	"strconv"
	"sync"
	"time"

	"sluice.dev/sluice/model"
)

// usageWindow is the time of which CPU is the mean, at least where readings are that far apart.
const usageWindow = 15 * time.Second

// meter remembers how much CPU the families of containers had used, since the kernel has totals only.
type meter struct {
	mu       sync.Mutex
	readings map[marker][]reading // guarded by mu; the oldest first
}

// reading is the total of a family at a moment.
type reading struct {
	at     time.Time
	cpu    time.Duration
	memory int64 // bytes
}

// Usage measures what the replicas of revisions use, and calls each for every revision that has some. A container counts with all of its
// descendants, also those that have left its process group and session. CPU of descendants that have ended counts when their parent has
// waited for them. Memory that processes share counts for each of them.
func (r *Runtime) Usage(ctx context.Context, revisions []model.Key, each func(model.Usage)) {
	answer := make(chan []measurable, 1)
	r.inbox.post(func() { answer <- r.measurables(revisions) })
	var all []measurable
	select {
	case all = <-answer:
	case <-ctx.Done():
		return
	}
	wanted := map[marker]bool{}
	for i := range all {
		for _, s := range all[i].replicas {
			for _, c := range s.containers {
				wanted[c.marker] = true
			}
		}
	}
	totals, now := totalsOf(wanted), time.Now()
	r.meter.mu.Lock()
	defer r.meter.mu.Unlock()
	for i := range all {
		m := &all[i]
		for j, s := range m.replicas {
			r.meter.measure(&m.usage.Replicas[j], s.containers, totals, now)
		}
		each(m.usage)
	}
	r.meter.forget(now)
}

// measurable is a revision before its replicas are measured.
type measurable struct {
	usage    model.Usage
	replicas []report // in the order of usage.Replicas
}

// family is the descendants of one container.
type family struct {
	marker marker
	began  time.Time
}

// measurables returns the replicas of revisions. Only the owner goroutine calls it.
func (r *Runtime) measurables(revisions []model.Key) []measurable {
	wanted := make(map[model.Key]bool, len(revisions))
	for _, revision := range revisions {
		wanted[revision] = true
	}
	var all []measurable
	for id, w := range r.workloads {
		if !wanted[id.revision] {
			continue
		}
		m := measurable{usage: model.Usage{Revision: id.revision, UID: id.uid}}
		for _, s := range w.slots {
			m.replicas = append(m.replicas, s.state)
			m.usage.Replicas = append(m.usage.Replicas, model.ReplicaUsage{
				Name: strconv.Itoa(s.number), Started: s.state.started, Ready: s.state.ready, Turned: s.turned, Request: w.spec.CPU,
				Pending: len(s.state.containers) == 0, Ending: s.stopping,
			})
		}
		all = append(all, m)
	}
	return all
}

// measure fills in the figures of a replica. It has none while one of its containers has none.
func (m *meter) measure(u *model.ReplicaUsage, containers []family, totals map[marker]reading, now time.Time) {
	u.Measured, u.At = len(containers) > 0, now
	for _, c := range containers {
		total, ok := totals[c.marker]
		if !ok {
			u.Measured = false
			return
		}
		total.at = now
		before := m.readings[c.marker]
		if before == nil {
			before = []reading{{at: c.began}} // then it had used nothing
		}
		for len(before) > 1 && now.Sub(before[1].at) >= usageWindow {
			before = before[1:]
		}
		window := now.Sub(before[0].at)
		if window <= 0 {
			u.Measured = false
			return
		}
		used := max(0, total.cpu-before[0].cpu)
		u.CPU += int64(used * 1000 / window)
		u.Memory += total.memory
		u.Window = max(u.Window, window)
		m.readings[c.marker] = append(before, total)
	}
}

// forget drops families that were not measured for some time: they have ended.
func (m *meter) forget(now time.Time) {
	for key, all := range m.readings {
		if now.Sub(all[len(all)-1].at) > time.Minute {
			delete(m.readings, key)
		}
	}
}

// totalsOf adds up what families have used so far.
func totalsOf(wanted map[marker]bool) map[marker]reading {
	totals := make(map[marker]reading, len(wanted))
	for _, pid := range processes() {
		key := markerOf(pid)
		if !wanted[key] {
			continue
		}
		if cpu, memory, ok := consumed(pid); ok {
			t := totals[key]
			t.cpu, t.memory = t.cpu+cpu, t.memory+memory
			totals[key] = t
		}
	}
	return totals
}
