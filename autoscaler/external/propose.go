package external

import (
	"fmt"
	"reflect"
	"time"

	"sluice.dev/sluice/model"
)

// propose has each revision that follows the Scaler get what it asks for now, and reports the status where it has changed.
func (w *worker) propose(now time.Time) {
	ready := map[model.Named]int{}
	for _, of := range w.following() {
		ready[of] = w.runner.readyOf(of) // which takes the runner's lock, so not with ours held
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.removed {
		return
	}
	for of := range w.follows {
		if _, stays := ready[of]; !stays {
			w.drop(of)
		}
	}
	s := &w.scaler
	w.status.FellBack = s.Fallback.Failures > 0 && w.status.Failures >= s.Fallback.Failures
	for i, of := range s.Revisions {
		n, known := ready[of]
		if !known {
			continue // it came after following, and with it a nudge
		}
		f := w.follows[of]
		if f == nil {
			f = &follower{proposed: map[string]model.Proposal{}}
			w.follows[of] = f
		}
		asked := w.asked(f, n, now)
		if i == 0 {
			w.status.Replicas = asked.Replicas
		}
		w.hand(of, f, asked)
		w.fallBack(of, f)
	}
	if len(s.Revisions) == 0 {
		w.status.Replicas = model.UnknownReplicas
	}
	if !reflect.DeepEqual(w.status, w.reported) {
		w.reported = w.status
		w.runner.options.Status(w.key, w.status)
	}
}

func (w *worker) following() []model.Named {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.scaler.Revisions
}

// asked is what the source asks for.
func (w *worker) asked(f *follower, ready int, now time.Time) model.Proposal {
	p := model.Proposal{Signal: model.ScalerSignal(w.key.Name), Replicas: model.UnknownReplicas}
	switch {
	case w.status.Problem != "":
		p.Why = w.status.Problem
		return p
	case !w.status.Known:
		p.Why = "it has not answered yet"
		return p
	}
	n, why := count(w.last, w.scaler.Type, ready, w.scaler.Most)
	p.Replicas, p.Why = f.hold.record(n, now, w.scaler.Hold), why
	if p.Replicas > n {
		p.Why = fmt.Sprintf("it asked for as many within the last %v (stabilizationWindowSeconds); now %s", w.scaler.Hold, why)
	}
	return p
}

// fallBack adds the replicas of the fallback to what the failed source asks for, which is unknown. The larger of both counts, so a
// fallback ends no replica.
func (w *worker) fallBack(of model.Named, f *follower) {
	signal := model.ScalerSignal(w.key.Name) + "/fallback"
	if w.status.FellBack {
		w.hand(of, f, model.Proposal{
			Signal: signal, Replicas: w.scaler.Fallback.Replicas,
			Why: fmt.Sprintf("the scaler has failed %d times or more", w.scaler.Fallback.Failures),
		})
		return
	}
	if _, was := f.proposed[signal]; was {
		delete(f.proposed, signal)
		w.runner.options.Withdraw(of.Revision, of.UID, signal)
	}
}

// hand hands on a proposal that differs from the one before.
func (w *worker) hand(of model.Named, f *follower, p model.Proposal) {
	if before, was := f.proposed[p.Signal]; was && before == p {
		return
	}
	f.proposed[p.Signal] = p
	w.runner.options.Propose(of.Revision, of.UID, p)
}

// drop withdraws all proposals for a revision.
func (w *worker) drop(of model.Named) {
	for signal := range w.follows[of].proposed {
		w.runner.options.Withdraw(of.Revision, of.UID, signal)
	}
	delete(w.follows, of)
}
