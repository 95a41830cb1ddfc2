package world

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

func refs(names ...string) []model.Ref {
	var all []model.Ref
	for _, name := range names {
		all = append(all, model.Ref{Kind: "Route", Key: model.Key{Namespace: "default", Name: name}})
	}
	return all
}

// waiter runs a FirstWorld in a bubble of synctest and keeps what it says.
type waiter struct {
	said, logged, warned []string
}

func (w *waiter) await(ctx context.Context, b *Barrier, expected []model.Ref) {
	b.Expect(expected)
	line := func(to *[]string) func(string, ...any) {
		return func(message string, args ...any) { *to = append(*to, message+": "+fmt.Sprint(args...)) }
	}
	FirstWorld{
		Barrier: b, Of: len(expected), Say: func(what string) { w.said = append(w.said, what) },
		Log: line(&w.logged), Warn: line(&w.warned),
	}.Await(ctx)
}

func TestFirstWorldWaitsWhileObjectsBecomeKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, all := NewBarrier(), refs("a", "b", "c")
		var settling sync.WaitGroup
		defer settling.Wait()
		settling.Go(func() {
			for _, o := range all {
				time.Sleep(stalledAfter - time.Second)
				if b.IsComplete() {
					t.Errorf("there is a World without %v", o)
				}
				b.Settle(o)
			}
		})
		w := &waiter{}
		w.await(t.Context(), b, all)
		if !b.IsComplete() || len(w.warned) > 0 {
			t.Errorf("no World, or a warning: %v", w.warned)
		}
		want := []string{
			"3 of 3 objects: Route default/a, Route default/b, Route default/c", "2 of 3 objects: Route default/b, Route default/c",
			"1 of 3 objects: Route default/c", "",
		}
		if diff := cmp.Diff(want, w.said); diff != "" {
			t.Errorf("what is waited for (-want +got):\n%s", diff)
		}
		if len(w.logged) < 3 {
			t.Errorf("it is logged %d times what is waited for", len(w.logged))
		}
	})
}

func TestFirstWorldGoesWithoutWhatStallsAndNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, all := NewBarrier(), refs("a", "b", "c", "d", "e", "f", "g")
		var settling sync.WaitGroup
		defer settling.Wait()
		settling.Go(func() {
			time.Sleep(stalledAfter - time.Second)
			b.Settle(all[0])
			time.Sleep(stalledAfter - time.Second)
			if b.IsComplete() {
				t.Error("there is a World although something became known within the time")
			}
		})
		w := &waiter{}
		w.await(t.Context(), b, all)
		if !b.IsComplete() || len(w.warned) != 1 || !strings.Contains(w.warned[0], "Route default/b") ||
			!strings.Contains(w.warned[0], "1 more") {
			t.Errorf("warnings %q", w.warned)
		}
	})
}

func TestFirstWorldThatLacksOnlyAnActivatorSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := NewBarrier(), &waiter{}
		w.await(t.Context(), b, []model.Ref{SomeActivator})
		if !b.IsComplete() || len(w.warned) != 1 || !strings.Contains(w.warned[0], "activator") {
			t.Errorf("warnings %q", w.warned)
		}
		if want := "1 of 1 objects: an activator that connects"; w.said[0] != want {
			t.Errorf("it waits for %q, want %q", w.said[0], want)
		}
	})
}
