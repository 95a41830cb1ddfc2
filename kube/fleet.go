package kube

import (
	"reflect"
	"sync"

	"sluice.dev/sluice/model"
)

// fleet is what runs: for each revision what the runtime was told and says, and what its autoscaler decided. What
// a decision or a replica changes reaches the runtime and the next World at once, without a look at the API server: a
// request may be waiting for it.
type fleet struct {
	run     func(model.Workload)
	backend func(*model.Backend)
	keep    func(model.Key, bool)
	forget  func(model.Key) // the backend, and that it is kept

	mu      sync.Mutex
	members map[model.Key]*member
}

// member is one revision of the fleet.
type member struct {
	uid      string
	scaled   model.Scaled
	workload model.Workload // with the replicas that the runtime was last told
	runnable bool
	told     bool // the runtime knows the workload as it is
	backend  model.Backend
	decision *model.Decision
	why      string // of the last scale step
	status   *model.WorkloadStatus
}

// crew is how a revision fares: a member as it was at one moment.
type crew struct {
	// Replicas is how many were asked for; 0 until somebody has decided.
	Replicas int
	Decision *model.Decision
	Why      string
	Status   *model.WorkloadStatus
}

// plan is what the API server says of a revision.
type plan struct {
	scaled   model.Scaled
	workload model.Workload
	runnable bool // there is no reason not to run it
	backend  model.Backend
}

// set takes what the API server says of a revision, and reports whether that is news to its autoscaler.
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
	was.Before, is.Before = model.Before{}, model.Before{} // which matters once, and then is what we wrote
	rescale = rescale || !reflect.DeepEqual(was, is)
	p.workload.Replicas = m.workload.Replicas
	m.told = m.told && reflect.DeepEqual(m.workload, p.workload)
	m.scaled, m.workload, m.runnable, m.backend = p.scaled, p.workload, p.runnable, p.backend
	f.carryOut(m)
	return rescale
}

// scale carries out a decision. It reports false when the revision is gone or another by now.
func (f *fleet) scale(key model.Key, uid string, d model.Decision) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || m.uid != uid {
		return false
	}
	if m.workload.Replicas != d.Replicas {
		m.workload.Replicas, m.told = d.Replicas, false
		m.why = d.Why()
	}
	m.decision = &d
	f.carryOut(m)
	return true
}

// observe takes what the runtime says. It reports false when the revision is gone or another by now: the last words of
// one that had the name before must not hide what became of the new one.
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

// remove ends a revision: first nobody is sent there any more, then it stops. Nothing that is decided or observed meanwhile
// brings it back.
func (f *fleet) remove(key model.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, key)
	f.forget(key)
	f.run(model.Workload{Revision: key})
}

// get returns how a revision fares; it is empty while nothing is known.
func (f *fleet) get(key model.Key, uid string) crew {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	if m == nil || m.uid != uid {
		return crew{}
	}
	return crew{Replicas: m.workload.Replicas, Decision: m.decision, Why: m.why, Status: m.status}
}

// initialized says that the revision has reached its initial scale once.
func (f *fleet) initialized(key model.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	return m != nil && m.decision != nil && m.decision.Initialized
}

// undecided says that the revision's autoscaler has yet to say how requests reach it. The answer comes without anybody asking.
func (f *fleet) undecided(key model.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[key]
	return m != nil && m.runnable && m.decision == nil
}

// carryOut tells the runtime what to run and the assembler how the revision is reached. It is called with the lock held,
// so that both hear of changes in their order; neither blocks.
func (f *fleet) carryOut(m *member) {
	if m.runnable && m.decision != nil && !m.told {
		m.told = true
		f.run(m.workload)
	}
	f.keep(m.workload.Revision, m.workload.Replicas > 0 || m.status != nil && len(m.status.Ready) > 0)
	f.backend(m.reached())
}

// reached is how requests reach the revision.
func (m *member) reached() *model.Backend {
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
