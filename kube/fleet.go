package kube

import (
	"reflect"
	"sync"

	"sluice.dev/sluice/model"
)

// fleet joins, for each revision, what the API server asks for, what its autoscaler decides and what the runtime reports. A decision or a
// change of the replicas reaches the runtime and the next World at once, without a call to the API server, because requests may wait for
// it.
type fleet struct {
	// Set once. Called with mu held, so that calls for a revision are in order; none of them may block.
	run     func(model.Workload)
	backend func(*model.Backend)
	keep    func(model.Key, bool)
	forget  func(model.Key) // removes the backend

	// Guarded by mu.
	mu      sync.Mutex
	members map[model.Key]*member
}

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
	status   *model.WorkloadStatus
}

// state is a member at one moment.
type state struct {
	// Replicas is how many were asked for; 0 until the first decision.
	Replicas int
	Decision *model.Decision
	Why      string
	Status   *model.WorkloadStatus
}

// plan is what the API server asks for.
type plan struct {
	scaled   model.Scaled
	workload model.Workload
	runnable bool // there is no reason not to run it
	backend  model.Backend
}

// set takes what the API server asks for, and reports whether the autoscaler must be informed of a change.
func (f *fleet) set(p plan) (rescale bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, uid := p.workload.Revision, p.workload.UID
	m := f.members[key]
	if m == nil || m.uid != uid {
		m = &member{uid: uid}
		f.members[key] = m
		rescale = true
	}
	was, is := m.scaled, p.scaled
	was.Before, is.Before = model.Before{}, model.Before{} // it counts at the start only; later it is what this adapter wrote
	rescale = rescale || !reflect.DeepEqual(was, is)
	p.workload.Replicas, p.workload.HPA = m.workload.Replicas, m.workload.HPA
	m.applied = m.applied && reflect.DeepEqual(m.workload, p.workload)
	m.scaled, m.workload, m.runnable, m.backend = p.scaled, p.workload, p.runnable, p.backend
	f.carryOut(m)
	return rescale
}

// scale carries out a decision. It reports false when the revision is gone, or another has its name.
func (f *fleet) scale(key model.Key, uid string, d model.Decision) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || m.uid != uid {
		return false
	}
	if m.workload.Replicas != d.Replicas {
		m.workload.Replicas, m.applied = d.Replicas, false
		m.why = d.Why()
	}
	if !reflect.DeepEqual(m.workload.HPA, d.HPA) {
		m.workload.HPA, m.applied = d.HPA, false
	}
	m.decision = &d
	f.carryOut(m)
	return true
}

// observe takes a report of the runtime. It reports false when the revision is gone, or another has its name: a late report on the old
// one must not replace the state of the new one.
func (f *fleet) observe(s model.WorkloadStatus) bool {
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

// remove ends a revision: it first removes the backend and then stops the replicas. A decision or report that comes meanwhile does not
// bring the revision back.
func (f *fleet) remove(key model.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, key)
	f.forget(key)
	f.run(model.Workload{Revision: key})
}

// get returns the state of a revision; it is empty when the fleet does not have it.
func (f *fleet) get(key model.Key, uid string) state {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || m.uid != uid {
		return state{}
	}
	return state{Replicas: m.workload.Replicas, Decision: m.decision, Why: m.why, Status: m.status}
}

// initialized says that the revision has reached its initial scale once.
func (f *fleet) initialized(key model.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	return m != nil && m.decision != nil && m.decision.Initialized
}

// undecided says that the revision's autoscaler has not decided yet how requests reach it. Its decision comes by itself.
func (f *fleet) undecided(key model.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	return m != nil && m.runnable && m.decision == nil
}

// carryOut hands the workload to the runtime, and the backend to the World.
func (f *fleet) carryOut(m *member) {
	if m.runnable && m.decision != nil && !m.applied {
		m.applied = true
		f.run(m.workload)
	}
	f.keep(m.workload.Revision, m.workload.Replicas > 0 || m.status != nil && len(m.status.Ready) > 0)
	f.backend(m.current())
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
