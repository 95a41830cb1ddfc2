package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// The first World is complete when every Route and Revision that existed at the start has been reconciled once: what is not in it
// would be taken away from gateways that have it from the process before. That is a fact and not a matter of time. A Route is
// known when its rules are, a Revision when its autoscaler has said how requests reach it: its replicas may still be starting,
// for activators hold what comes. An object that cannot be reconciled is left out, once that has failed.

const (
	// stalledAfter is for how long nothing more may become known until the first World goes without the rest. No known case
	// needs it: it keeps a mistake of ours about one object from taking everything down.
	stalledAfter = time.Minute
	// activatorPatience bounds how long the first World, known otherwise, waits for an activator where all of them are other
	// processes: whether there is any cannot be known. One that has been without us for long tries every 5 s.
	activatorPatience = 10 * time.Second
	// firstWorldCheck is how often it is looked at how the first World comes along; settling completes it at once.
	firstWorldCheck = 500 * time.Millisecond
	// logWaitingEvery is how often it is logged what the first World waits for.
	logWaitingEvery = 10 * time.Second
	// afterFirstWorld is when an object is looked at again whose status is to be written after the first World is complete.
	afterFirstWorld = time.Second
	// maxNamed is how many objects a sentence names.
	maxNamed = 5
)

// someActivator stands for the activators among what is expected: it is settled when there is one.
var someActivator = model.Ref{Kind: "Activator"}

// expect names the objects without which no World is complete. Without it the first World would tell the data
// plane that whatever has not been looked at yet does not exist.
func (a *assembler) expect(objects []model.Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.expected = map[model.Ref]struct{}{}
	for _, o := range objects {
		if _, done := a.settled[o]; !done {
			a.expected[o] = struct{}{}
		}
	}
	a.completeIfSettled()
}

// settle says that an object's part of the World is known, and reports whether that was waited for.
func (a *assembler) settle(o model.Ref) (awaited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.complete:
		return false
	case a.expected == nil:
		_, done := a.settled[o]
		a.settled[o] = struct{}{}
		return !done
	}
	_, awaited = a.expected[o]
	delete(a.expected, o)
	a.completeIfSettled()
	return awaited
}

// settleAll gives up waiting for what is not known.
func (a *assembler) settleAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.complete {
		clear(a.expected)
		a.completeIfSettled()
	}
}

// isComplete says whether there are Worlds.
func (a *assembler) isComplete() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.complete
}

func (a *assembler) completeIfSettled() {
	if len(a.expected) == 0 {
		a.complete, a.expected, a.settled = true, nil, nil
		close(a.completed)
		a.signal()
	}
}

// missing are the objects that are waited for, sorted.
func (a *assembler) missing() []model.Ref {
	a.mu.Lock()
	defer a.mu.Unlock()
	missing := make([]model.Ref, 0, len(a.expected))
	for o := range a.expected {
		missing = append(missing, o)
	}
	slices.SortFunc(missing, func(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Key.Compare(b.Key)) })
	return missing
}

// settling makes a reconciler settle its objects: when one is known, and when reconciling it has failed.
func (a *Adapter) settling(kind string, do func(context.Context, ctrl.Request) (ctrl.Result, error)) reconcile.Func {
	return func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
		o := model.Ref{Kind: kind, Key: model.Key{Namespace: r.Namespace, Name: r.Name}}
		failure := errors.New("the reconciler panicked")
		defer func() {
			if failure != nil && ctx.Err() == nil && a.assembler.settle(o) {
				a.log.Warn("an object cannot be reconciled: what it asks for is not served until it can be", "object", o, "error", failure)
			}
		}()
		result, err := do(ctx, r)
		if err == nil && (kind != kindRevision || !a.fleet.undecided(o.Key)) {
			a.assembler.settle(o)
		}
		result, err = outcome(result, err) // a race that was lost is looked at again, and no failure
		failure = err
		return result, err
	}
}

// awaitFirstWorld tells the assembler what the first World must contain, has each of that looked at (what is deleted before its
// controller watches is told by no watch, and would be waited for in vain), and tells what is waited for until there is a World.
func (a *Adapter) awaitFirstWorld(ctx context.Context) error {
	existing, err := a.existing(ctx)
	if err != nil {
		return err
	}
	expected := existing
	if a.options.AwaitActivator && len(existing) > 0 {
		expected = append(slices.Clip(existing), someActivator)
	}
	a.assembler.expect(expected)
	for _, o := range existing {
		if o.Kind == kindRoute {
			a.routes.add(o.Key)
		} else {
			a.revisions.add(o.Key)
		}
	}
	w := firstWorld{assembler: a.assembler, of: len(expected), say: a.sayWaiting, log: a.log.Info, warn: a.log.Warn}
	w.await(ctx)
	return nil
}

func (a *Adapter) sayWaiting(what string) {
	if a.options.Waiting != nil {
		a.options.Waiting(what)
	}
}

// onceComplete makes a reconciler wait whose objects the first World does not need: what it needs goes first.
func (a *Adapter) onceComplete(do func(context.Context, ctrl.Request) (ctrl.Result, error)) reconcile.Func {
	return func(ctx context.Context, r ctrl.Request) (ctrl.Result, error) {
		select {
		case <-a.assembler.completed:
			return outcome(do(ctx, r))
		case <-ctx.Done():
			return ctrl.Result{}, nil
		}
	}
}

// existing are all Routes and Revisions.
func (a *Adapter) existing(ctx context.Context) ([]model.Ref, error) {
	var routes servingv1.RouteList
	var revisions servingv1.RevisionList
	if err := a.client.List(ctx, &routes); err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	if err := a.client.List(ctx, &revisions); err != nil {
		return nil, fmt.Errorf("listing revisions: %w", err)
	}
	var existing []model.Ref
	for i := range routes.Items {
		existing = append(existing, refOf(kindRoute, &routes.Items[i]))
	}
	for i := range revisions.Items {
		existing = append(existing, refOf(kindRevision, &revisions.Items[i]))
	}
	return existing, nil
}

// firstWorld waits for the assembler to be complete.
type firstWorld struct {
	assembler *assembler
	of        int // how many objects are expected
	say       func(what string)
	log, warn func(message string, args ...any)
}

// await returns when there is a World, or when the context ends.
func (f firstWorld) await(ctx context.Context) {
	ticker := time.NewTicker(firstWorldCheck)
	defer ticker.Stop()
	defer f.say("")
	began := time.Now()
	logged, moved, left := began, began, -1
	for {
		missing := f.assembler.missing()
		if len(missing) == 0 {
			return
		}
		now := time.Now()
		if len(missing) != left {
			moved, left = now, len(missing)
			f.say(waitingFor(missing, f.of))
		}
		noActivator := len(missing) == 1 && missing[0] == someActivator
		switch {
		case noActivator && now.Sub(moved) >= activatorPatience:
			f.warn("no activator has connected: revisions without replicas are not served until one does", "waited", activatorPatience)
			f.assembler.settleAll()
		case now.Sub(moved) >= stalledAfter:
			f.warn("serving without objects that did not become known in time", "waited", stalledAfter, "objects", waitingFor(missing, f.of))
			f.assembler.settleAll()
		case now.Sub(logged) >= logWaitingEvery:
			logged = now
			f.log("nothing is served yet", "reason", waitingFor(missing, f.of))
		}
		select {
		case <-f.assembler.completed:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// waitingFor is what is missing, such as: 2 of 40 objects: Revision default/a-00001, Route default/a.
func waitingFor(missing []model.Ref, of int) string {
	if len(missing) == 0 {
		return ""
	}
	var names []string
	for _, o := range missing[:min(len(missing), maxNamed)] {
		if o == someActivator {
			names = append(names, "an activator that connects")
			continue
		}
		names = append(names, o.Kind+" "+o.Key.String())
	}
	if more := len(missing) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("%d of %d objects: %s", len(missing), of, strings.Join(names, ", "))
}
