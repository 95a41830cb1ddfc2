// Package fleet joins, for each revision, what the API server asks for, what its autoscaler decides and what the runtime reports, and hands
// out a Workload for the runtime and a Backend for the next World. It must not know the API server, nor how a runtime runs anything.
package fleet

import (
	"cmp"
	"reflect"
	"sync"

	"sluice.dev/sluice/model"
)

// Fleet joins, for each revision, what the API server asks for, what its autoscaler decides and what the runtime reports. A decision or a
// change of the replicas reaches the runtime and the next World at once, without a call to the API server, because requests may wait for
// it.
type Fleet struct {
	out Outputs // set once

	// Guarded by mu.
	mu      sync.Mutex
	members map[model.Key]*member
}

// Outputs take what a Fleet hands out. They are called one at a time, so that calls for a revision are in order. They must neither block
// nor call the Fleet.
type Outputs struct {
	// Run has the runtime run a Workload.
	Run func(model.Workload)
	// Backend takes the backend of a revision.
	Backend func(*model.Backend)
	// Keep says whether a revision stays in the World without a route, because it runs.
	Keep func(revision model.Key, yes bool)
	// Forget removes the backend of a revision.
	Forget func(revision model.Key)
}

// New makes a Fleet without revisions.
func New(out Outputs) *Fleet { return &Fleet{out: out, members: map[model.Key]*member{}} }

// member is one revision of the fleet.
type member struct {
	uid      string
	scaled   model.Scaled
	workload model.Workload // with the replicas of the last decision
	runnable bool
	applied  bool // the runtime has the workload as it is
	backend  model.Backend
	decision *model.Decision
	why      string // of the last scale step
	asked    []string
	status   *model.WorkloadStatus
}

// State is a member at one moment.
type State struct {
	// Replicas is how many were asked for; 0 until the first decision.
	Replicas int
	// Decision is the last one; nil before the first.
	Decision *model.Decision
	// Why is the sentence of the last scale step; empty before the first. Asked is what each signal asked for then.
	Why   string
	Asked []string
	// Status is the runtime's last report; nil before the first.
	Status *model.WorkloadStatus
}

// Plan is what the API server asks for.
type Plan struct {
	Scaled   model.Scaled
	Workload model.Workload
	// Runnable says that there is no reason not to run it.
	Runnable bool
	// Backend is without endpoints, which the runtime reports, and without a path of requests, which the autoscaler decides.
	Backend model.Backend
}

// Set takes what the API server asks for, and reports whether the autoscaler must be informed of a change.
func (f *Fleet) Set(p Plan) (rescale bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, uid := p.Workload.Revision, p.Workload.UID
	m := f.members[key]
	if m == nil || m.uid != uid {
		m = &member{uid: uid}
		f.members[key] = m
		rescale = true
	}
	was, is := m.scaled, p.Scaled
	was.Before, is.Before = model.Before{}, model.Before{} // it counts at the start only; later it is what this adapter wrote
	rescale = rescale || !reflect.DeepEqual(was, is)
	p.Workload.Replicas, p.Workload.HPA = m.workload.Replicas, m.workload.HPA
	m.applied = m.applied && reflect.DeepEqual(m.workload, p.Workload)
	m.scaled, m.workload, m.runnable, m.backend = p.Scaled, p.Workload, p.Runnable, p.Backend
	f.carryOut(m)
	return rescale
}

// Scale carries out a decision. It reports false when the revision is gone, or another has its name.
func (f *Fleet) Scale(key model.Key, uid string, d model.Decision) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || m.uid != uid {
		return false
	}
	if scales := m.workload.Replicas != d.Replicas; scales || d.Observing && (m.decision == nil || m.decision.Would != d.Would) {
		m.workload.Replicas, m.applied = d.Replicas, m.applied && !scales
		m.why, m.asked = d.Why(), d.Asked()
	} else if d.Renewed {
		m.why, m.asked = cmp.Or(m.why, d.Why()), d.Asked()
	}
	if !reflect.DeepEqual(m.workload.HPA, d.HPA) {
		m.workload.HPA, m.applied = d.HPA, false
	}
	m.decision = &d
	f.carryOut(m)
	return true
}

// Observe takes a report of the runtime. It reports false when the revision is gone, or another has its name: a late report on the old
// one must not replace the state of the new one.
func (f *Fleet) Observe(s model.WorkloadStatus) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[s.Revision]
	if m == nil || m.uid != s.UID {
		return false
	}
	m.status = &s
	f.carryOut(m)
	return true
}

// Remove ends a revision: it first removes the backend and then stops the replicas. A decision or report that comes meanwhile does not
// bring the revision back.
func (f *Fleet) Remove(key model.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, key)
	f.out.Forget(key)
	f.out.Run(model.Workload{Revision: key})
}

// Get returns the state of a revision; it is empty when the fleet does not have it.
func (f *Fleet) Get(key model.Key, uid string) State {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || m.uid != uid {
		return State{}
	}
	return State{Replicas: m.workload.Replicas, Decision: m.decision, Why: m.why, Asked: m.asked, Status: m.status}
}

// Initialized says that the revision has reached its initial scale once.
func (f *Fleet) Initialized(key model.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	return m != nil && m.decision != nil && m.decision.Initialized
}

// Undecided says that the revision's autoscaler has not decided yet how requests reach it. Its decision comes by itself.
func (f *Fleet) Undecided(key model.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	return m != nil && m.runnable && m.decision == nil
}

// carryOut hands the workload to the runtime, and the backend to the World.
func (f *Fleet) carryOut(m *member) {
	if m.runnable && m.decision != nil && !m.applied {
		m.applied = true
		f.out.Run(m.workload)
	}
	f.out.Keep(m.workload.Revision, m.workload.Replicas > 0 || m.status != nil && len(m.status.Ready) > 0)
	f.out.Backend(m.current())
}

// current returns the backend with the decision and the replicas of now.
func (m *member) current() *model.Backend {
	b := m.backend
	b.Via = model.ViaActivator
	if m.decision != nil {
		b.Via, b.Activators = m.decision.Via, m.decision.Activators
	}
	if m.status != nil {
		b.Endpoints, b.Start = m.status.Ready, m.status.Start
		if f := m.status.Failure; f != nil && f.Lasting && len(b.Endpoints) == 0 {
			b.Failure = f
		}
	}
	return &b
}
