package world

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sluice.dev/sluice/model"
)

// The first World is complete when every Route and Revision that existed at the start has been reconciled once. Gateways may still
// have the resources of the process before this one, and they would remove whatever the first World lacks. So the barrier waits for
// objects, not for a time. A Route is known when its rules are known. A Revision is known when its autoscaler has said how requests
// reach it: its replicas may still be starting, since activators hold the requests. An object whose reconciliation fails is left out.

const (
	// stalledAfter bounds the time in which nothing more becomes known. After it the first World goes without the rest. No known case
	// needs it: it keeps a mistake of ours about one object from taking everything down.
	stalledAfter = time.Minute
	// activatorPatience bounds the wait for an activator when everything else is known. Where all activators are other processes,
	// there may be none. An activator that has lost its connection tries again every 5 s.
	activatorPatience = 10 * time.Second
	// firstWorldCheck is how often the progress is checked. The barrier itself completes at once.
	firstWorldCheck = 500 * time.Millisecond
	// logWaitingEvery is the time between two log lines that say what the first World waits for.
	logWaitingEvery = 10 * time.Second
	// maxNamed is how many objects a sentence names.
	maxNamed = 5
)

// SomeActivator stands for the activators among the expected objects: it is settled when there is one.
var SomeActivator = model.Ref{Kind: "Activator"}

// FirstWorld waits for a Barrier to complete.
type FirstWorld struct {
	Barrier *Barrier
	// Of is how many objects are expected.
	Of int
	// Say is called with a sentence that says what is missing whenever that changes, and with an empty one at the end.
	Say func(what string)
	// Log and Warn write a line with key-value pairs.
	Log, Warn func(message string, args ...any)
}

// Await returns when there is a World, or when the context ends.
func (f FirstWorld) Await(ctx context.Context) {
	ticker := time.NewTicker(firstWorldCheck)
	defer ticker.Stop()
	defer f.Say("")
	began := time.Now()
	logged, moved, left := began, began, -1
	for {
		missing := f.Barrier.missing()
		if len(missing) == 0 {
			return
		}
		now := time.Now()
		if len(missing) != left {
			moved, left = now, len(missing)
			f.Say(waitingFor(missing, f.Of))
		}
		noActivator := len(missing) == 1 && missing[0] == SomeActivator
		switch {
		case noActivator && now.Sub(moved) >= activatorPatience:
			f.Warn("no activator has connected: revisions without replicas are not served until one does", "waited", activatorPatience)
			f.Barrier.SettleAll()
		case now.Sub(moved) >= stalledAfter:
			f.Warn("serving without objects that did not become known in time",
				"waited", stalledAfter, "objects", waitingFor(missing, f.Of))
			f.Barrier.SettleAll()
		case now.Sub(logged) >= logWaitingEvery:
			logged = now
			f.Log("nothing is served yet", "reason", waitingFor(missing, f.Of))
		}
		select {
		case <-f.Barrier.completed:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// waitingFor says what is missing, such as: 2 of 40 objects: Revision default/a-00001, Route default/a.
func waitingFor(missing []model.Ref, of int) string {
	if len(missing) == 0 {
		return ""
	}
	var names []string
	for _, o := range missing[:min(len(missing), maxNamed)] {
		if o == SomeActivator {
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
