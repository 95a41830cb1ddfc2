package breaker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/dataplane/queueproxy/breaker"
)

// acquire takes a place that must be free.
func acquire(t *testing.T, b *breaker.Breaker) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release, err := b.Acquire(ctx)
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return release
}

func wantCounts(t *testing.T, b *breaker.Breaker, running, waiting int) {
	t.Helper()
	if r, w := b.Counts(); r != running || w != waiting {
		t.Fatalf("running %d, waiting %d; want %d and %d", r, w, running, waiting)
	}
}

func TestTryAcquireTakesWhatIsFree(t *testing.T) {
	b := breaker.New(1, 1)
	release, ok := b.TryAcquire()
	if !ok {
		t.Fatal("the free place was not given")
	}
	if _, ok := b.TryAcquire(); ok {
		t.Error("the place was given twice")
	}
	wantCounts(t, b, 1, 0)
	release()
	b.Close(errors.New("over"))
	if _, ok := b.TryAcquire(); ok {
		t.Error("a closed breaker let somebody in")
	}
}

func TestFullQueueIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(1, 1)
		release := acquire(t, b)
		go func() {
			second, err := b.Acquire(t.Context())
			if err != nil {
				t.Errorf("the one that fits the queue: %v", err)
				return
			}
			second()
		}()
		synctest.Wait()
		wantCounts(t, b, 1, 1)
		if _, err := b.Acquire(t.Context()); !errors.Is(err, breaker.ErrFull) {
			t.Fatalf("got %v, want ErrFull", err)
		}
		release()
		synctest.Wait()
		wantCounts(t, b, 0, 0)
	})
}

func TestCloseRefusesWaitersAndLaterCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(1, 5)
		release := acquire(t, b)
		why := errors.New("it is gone")
		var refused atomic.Int64
		for range 3 {
			go func() {
				if _, err := b.Acquire(t.Context()); errors.Is(err, why) {
					refused.Add(1)
				}
			}()
			synctest.Wait()
		}
		b.Close(why)
		synctest.Wait()
		if _, err := b.Acquire(t.Context()); refused.Load() != 3 || !errors.Is(err, why) {
			t.Errorf("%d of 3 who waited were refused; one who came then got %v, want %v", refused.Load(), err, why)
		}
		wantCounts(t, b, 1, 0)
		release()
		wantCounts(t, b, 0, 0)
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(1, 10)
		release := acquire(t, b)
		var order []int
		for i := range 10 {
			go func() {
				done, err := b.Acquire(t.Context())
				if err != nil {
					t.Errorf("waiter %d: %v", i, err)
					return
				}
				order = append(order, i)
				done()
			}()
			synctest.Wait()
		}
		release()
		synctest.Wait()
		if len(order) != 10 || !slices.IsSorted(order) {
			t.Fatalf("served in the order %v", order)
		}
	})
}

func TestCancelledWaiterLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(1, 3)
		release := acquire(t, b)
		cause := errors.New("the client went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		var cancelled error
		var served []string
		wait := func(ctx context.Context, name string) {
			done, err := b.Acquire(ctx)
			if err != nil {
				cancelled = err
				return
			}
			served = append(served, name)
			done()
		}
		go wait(t.Context(), "first")
		synctest.Wait()
		go wait(ctx, "second")
		synctest.Wait()
		go wait(t.Context(), "third")
		synctest.Wait()
		wantCounts(t, b, 1, 3)
		cancel(cause)
		synctest.Wait()
		wantCounts(t, b, 1, 2)
		release()
		synctest.Wait()
		if !errors.Is(cancelled, cause) || !slices.Equal(served, []string{"first", "third"}) {
			t.Fatalf("cancelled with %v, served %v", cancelled, served)
		}
		wantCounts(t, b, 0, 0)
	})
}

func TestEndedContextTakesNoPlace(t *testing.T) {
	b := breaker.New(1, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Acquire(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want context.Canceled", err)
	}
	wantCounts(t, b, 0, 0)
}

func TestLimitChangesWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(0, 10)
		finish := make(chan struct{})
		for range 6 {
			go func() {
				done, err := b.Acquire(t.Context())
				if err != nil {
					t.Errorf("Acquire: %v", err)
					return
				}
				<-finish
				done()
			}()
		}
		synctest.Wait()
		wantCounts(t, b, 0, 6)
		b.SetLimit(4)
		synctest.Wait()
		wantCounts(t, b, 4, 2)
		b.SetLimit(1)
		finish <- struct{}{}
		synctest.Wait()
		wantCounts(t, b, 3, 2) // above the limit: nobody is interrupted, nobody admitted
		b.SetLimit(breaker.Unlimited)
		synctest.Wait()
		wantCounts(t, b, 5, 0)
		close(finish)
		synctest.Wait()
		wantCounts(t, b, 0, 0)
	})
}

func TestReleasingTwicePanics(t *testing.T) {
	b := breaker.New(1, 0)
	release := acquire(t, b)
	release()
	defer func() {
		if recover() == nil {
			t.Error("the second release went unnoticed")
		}
	}()
	release()
}

// TestLimitHoldsAndEachWaiterGetsItsTurn is the property: whatever the callers do, never more than the limit run at a time, and
// everybody is admitted, refused or cancelled.
func TestLimitHoldsAndEachWaiterGetsItsTurn(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		limit, depth, callers := 1+random.IntN(8), random.IntN(30), 200
		b := breaker.New(limit, depth)
		var running, most, admitted, refused, cancelled atomic.Int64
		var all sync.WaitGroup
		for range callers {
			patience := time.Duration(random.IntN(2000)) * time.Microsecond
			work := time.Duration(random.IntN(100)) * time.Microsecond
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				release, err := b.Acquire(ctx)
				switch {
				case errors.Is(err, breaker.ErrFull):
					refused.Add(1)
					return
				case err != nil:
					cancelled.Add(1)
					return
				}
				now := running.Add(1)
				for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
				}
				time.Sleep(work)
				running.Add(-1)
				admitted.Add(1)
				release()
			})
		}
		all.Wait()
		if most.Load() > int64(limit) {
			t.Fatalf("seed %d: %d ran at a time, the limit is %d", seed, most.Load(), limit)
		}
		if sum := admitted.Load() + refused.Load() + cancelled.Load(); sum != int64(callers) {
			t.Fatalf("seed %d: %d of %d callers accounted for", seed, sum, callers)
		}
		wantCounts(t, b, 0, 0)
	}
}

func TestUncontendedPathDoesNotAllocate(t *testing.T) {
	b := breaker.New(1, 1)
	allocs := testing.AllocsPerRun(100, func() {
		release, err := b.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
	if allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
}

func BenchmarkUncontended(b *testing.B) {
	br := breaker.New(1, 1)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		release, _ := br.Acquire(ctx)
		release()
	}
}

// BenchmarkContended has more callers than places, so that most of them wait; the peer is a channel as semaphore.
func BenchmarkContended(b *testing.B) {
	ctx := b.Context()
	b.Run("breaker", func(b *testing.B) {
		br := breaker.New(4, 1000)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if release, err := br.Acquire(ctx); err == nil {
					release()
				}
			}
		})
	})
	b.Run("channel", func(b *testing.B) {
		places := make(chan struct{}, 4)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				select {
				case places <- struct{}{}:
					<-places
				case <-ctx.Done():
				}
			}
		})
	})
}
