package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func freshDispatcher(concurrency int, addresses ...string) *Dispatcher {
	d := New(10_000, NewPending(50_000), func() {})
	d.Apply(&Assignment{Concurrency: concurrency, Endpoints: addresses}, -1)
	return d
}

// enter brings in n requests and names the replicas whose slots they got; "" is none.
func enter(t *testing.T, d *Dispatcher, n int) (tickets []*Ticket, got []string) {
	t.Helper()
	for range n {
		x := &Ticket{Arrived: time.Now()}
		if err := d.Enter(x); err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, x)
		if x.replica == nil {
			got = append(got, "")
		} else {
			got = append(got, x.replica.Address)
		}
	}
	return tickets, got
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		concurrency, requests int
		want                  []string
	}{
		{1, 4, []string{"a", "b", "c", ""}},
		{2, 7, []string{"a", "a", "b", "b", "c", "c", ""}},
		{3, 4, []string{"a", "a", "a", "b"}},
		{4, 7, []string{"a", "b", "c", "a", "b", "c", "a"}},
	} {
		d := freshDispatcher(c.concurrency, "a", "b", "c")
		_, got := enter(t, d, c.requests)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("concurrency %d:\n%s", c.concurrency, diff)
		}
	}
	d := freshDispatcher(4, "a", "b", "c")
	tickets, _ := enter(t, d, 5) // a has 2, b has 2, c has 1
	d.Leave(tickets[1], true)
	d.Leave(tickets[4], true) // b has none
	if _, got := enter(t, d, 2); got[0] != "b" || got[1] != "c" {
		t.Errorf("the least loaded are b and then c, not %v", got)
	}
	d = freshDispatcher(0, "a", "b", "c", "d")
	_, got := enter(t, d, 4000)
	counts := map[string]int{}
	for _, g := range got {
		counts[g]++
	}
	for _, address := range []string{"a", "b", "c", "d"} {
		if n := counts[address]; n < 980 || n > 1020 {
			t.Errorf("two choices are uneven: %v", counts)
			break
		}
	}
}

func TestSharesAreKnatives(t *testing.T) {
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for _, c := range []struct {
		n, index, activators int
		want                 []int
	}{
		{10, 0, 1, all}, {10, -1, 3, all}, {1, 2, 5, all[:1]}, {0, 0, 3, all[:0]},
		{10, 0, 3, []int{0, 1, 2, 9}}, {10, 1, 3, []int{3, 4, 5}}, {10, 2, 3, []int{6, 7, 8}},
		{8, 0, 3, []int{0, 1, 6}}, {8, 1, 3, []int{2, 3, 7}}, {8, 2, 3, []int{4, 5}},
		{3, 4, 5, []int{1}}, {10, 1, 2, all[5:]},
	} {
		if diff := cmp.Diff(c.want, share(all[:c.n], c.index, c.activators)); diff != "" {
			t.Errorf("%d things, activator %d of %d:\n%s", c.n, c.index, c.activators, diff)
		}
	}
	for n := range 30 { // nothing is left out, nothing is used twice where there is enough
		for activators := 1; activators <= n; activators++ {
			var used []int
			for i := range activators {
				used = append(used, share(make([]int, n), i, activators)...)
			}
			if len(used) != n {
				t.Fatalf("%d activators use %d of %d", activators, len(used), n)
			}
		}
	}
}

func TestQueueIsFairAndKeepsThePlaceOfARefusedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := freshDispatcher(1, "a")
		tickets, _ := enter(t, d, 5)
		began := time.Now()
		d.Leave(tickets[0], true)
		if tickets[1].replica == nil {
			t.Fatal("a freed slot does not go to the next")
		}
		<-tickets[1].turn
		d.Refused(tickets[1]) // the replica is left alone for a moment, and the ticket is first again
		d.mu.Lock()
		if d.queue.first != tickets[1] || d.queue.length != 4 {
			t.Error("the refused request lost its place")
		}
		d.mu.Unlock()
		<-tickets[1].turn
		if time.Since(began) != minBackOff || tickets[1].replica == nil || !tickets[1].probe || tickets[2].replica != nil {
			t.Fatal("after the pause the first request tries again, alone")
		}
		d.Connected(tickets[1])
		for i := 1; i < 5; i++ {
			if tickets[i].replica == nil {
				t.Fatalf("request %d was passed over", i)
			}
			d.Leave(tickets[i], true)
		}
	})
}

func TestRequestWithoutAClientDoesNotUseItsSlot(t *testing.T) {
	d := freshDispatcher(1, "a")
	tickets, _ := enter(t, d, 4)
	clientGone := errors.New("the client has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(clientGone)
	d.Leave(tickets[0], true)
	for _, x := range tickets[1:3] { // each gets the slot before it could notice that its client is gone
		if x.replica == nil {
			t.Fatal("the freed slot does not go to the next")
		}
		if err := d.Wait(ctx, x); !errors.Is(err, clientGone) {
			t.Errorf("a request without a client uses its slot: %v", err)
		}
		d.Leave(x, false)
	}
	if err := d.Wait(t.Context(), tickets[3]); err != nil || tickets[3].replica == nil {
		t.Errorf("the next request has no slot: %v", err)
	}
}

func TestRefusingReplicaIsEjectedWithABackOff(t *testing.T) {
	t.Run("no connection", func(t *testing.T) { refuseAll(t, func(*Dispatcher, *Ticket) {}, 30) })
	t.Run("no application", func(t *testing.T) { refuseAll(t, (*Dispatcher).Connected, 30*100) }) // all hundred try when one has connected
}

// refuseAll has a replica refuse a hundred requests for 10 s, and then take them. Before each refusal try is called.
func refuseAll(t *testing.T, try func(*Dispatcher, *Ticket), most int) {
	synctest.Test(t, func(t *testing.T) {
		d := freshDispatcher(0, "a")
		tickets, _ := enter(t, d, 100)
		began, attempts := time.Now(), 0
		for _, x := range tickets {
			d.Refused(x)
		}
		for time.Since(began) < 10*time.Second {
			time.Sleep(time.Millisecond)
			synctest.Wait()
			for _, x := range tickets {
				select {
				case <-x.turn:
					attempts++
					try(d, x)
					d.Refused(x)
				default:
				}
			}
		}
		if attempts < 15 || attempts > most {
			t.Errorf("%d attempts in 10 s", attempts)
		}
		d.Apply(&Assignment{Endpoints: []string{"b"}}, -1)
		d.Apply(&Assignment{Endpoints: []string{"a"}}, -1) // somebody else may be there now
		for _, x := range tickets {
			<-x.turn
			d.Leave(x, true)
		}
		for range 3 { // what is answered in between ends the row
			got, _ := enter(t, d, 1)
			began = time.Now()
			d.Refused(got[0])
			<-got[0].turn
			if took := time.Since(began); took != minBackOff {
				t.Errorf("left alone for %v", took)
			}
			d.Connected(got[0])
			d.Answered(got[0])
			d.Leave(got[0], true)
		}
	})
}

func TestWaitEndsAfterItsDeadlineWithTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(10, NewPending(10), func() {})
		wait := func() (time.Duration, error) {
			x := &Ticket{Arrived: time.Now()}
			if err := d.Enter(x); err != nil {
				t.Fatal(err)
			}
			err := d.Wait(t.Context(), x)
			d.Leave(x, false)
			return time.Since(x.Arrived), err
		}
		check := func(what string, want time.Duration, wantErr error) {
			t.Helper()
			took, err := wait()
			if took != want || !errors.Is(err, wantErr) && err.Error() != wantErr.Error() {
				t.Errorf("%s: %v after %v, want %v after %v", what, err, took, wantErr, want)
			}
		}
		check("nothing known", SilentPatience, ErrTimeout)
		d.Apply(&Assignment{Timeout: 5 * time.Second}, -1)
		check("a timeout", 5*time.Second, ErrTimeout)
		f := &Failure{"Broken", "it is"}
		time.AfterFunc(time.Second, func() { d.Apply(&Assignment{Timeout: 5 * time.Second, Failure: f}, -1) })
		check("a failure while waiting", time.Second, f)
		time.Sleep(time.Second)
		check("a failure before", FailedPatience, f)
		d.Remove()
		time.Sleep(time.Second)
		check("no revision", UnknownPatience, ErrUnknownRevision)
		time.AfterFunc(time.Second, d.Disconnected)
		check("the control plane is lost while waiting", 5*time.Second, ErrTimeout)
		check("the control plane is lost", 5*time.Second, ErrTimeout)
		d.Remove()
		time.Sleep(time.Second)
		check("it is back and knows of no revision", UnknownPatience, ErrUnknownRevision)
		time.AfterFunc(time.Second, func() { d.Apply(&Assignment{Timeout: 3 * time.Second}, -1) })
		check("a revision that appears", 3*time.Second, ErrTimeout)
		ctx, cancel := context.WithCancelCause(t.Context())
		errEnded := errors.New("the server ends")
		time.AfterFunc(time.Second, func() { cancel(errEnded) })
		x := &Ticket{Arrived: time.Now()}
		_ = d.Enter(x)
		if err := d.Wait(ctx, x); !errors.Is(err, errEnded) {
			t.Errorf("cancelled: %v", err)
		}
		d.Leave(x, false)
	})
}

func TestBoundOverAllRevisions(t *testing.T) {
	all := NewPending(3)
	a, b := New(10, all, func() {}), New(10, all, func() {})
	tickets, _ := enter(t, a, 2)
	enter(t, b, 1)
	if err := b.Enter(&Ticket{Arrived: time.Now()}); !errors.Is(err, ErrQueueFull) {
		t.Errorf("got %v", err)
	}
	a.Leave(tickets[0], false)
	if err := b.Enter(&Ticket{Arrived: time.Now()}); err != nil {
		t.Errorf("got %v", err)
	}
}

// Whatever happens at the same time: no slot is lost or given twice, nobody waits while a slot is free, and everybody gets a turn.
func TestNoSlotIsLost(t *testing.T) {
	for _, concurrency := range []int{0, 1, 3, 7} {
		all := NewPending(1000)
		d := New(1000, all, func() {})
		names := make([]string, 8)
		inside := map[string]*atomic.Int64{}
		for i := range names {
			names[i] = fmt.Sprintf("10.0.0.%d:80", i)
			inside[names[i]] = &atomic.Int64{}
		}
		d.Apply(&Assignment{Concurrency: concurrency, Endpoints: names}, -1)
		stop := make(chan struct{})
		var changing, working sync.WaitGroup
		changing.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(concurrency)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				now := slices.DeleteFunc(slices.Clone(names), func(string) bool { return random.IntN(3) == 0 })
				d.Apply(&Assignment{Concurrency: concurrency, Endpoints: now}, -1)
				d.mu.Lock()
				if d.queue.length > 0 && d.policy.pick() != nil {
					t.Error("a request waits while a slot is free")
				}
				d.mu.Unlock()
			}
		})
		for i := range 32 {
			working.Go(func() {
				random := rand.New(rand.NewPCG(8, uint64(i)))
				for range 300 {
					x := &Ticket{Arrived: time.Now()}
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(2000))*time.Microsecond)
					err := d.Enter(x)
					if err == nil {
						err = d.Wait(ctx, x)
					}
					if err == nil && random.IntN(20) == 0 {
						d.Refused(x)
						err = d.Wait(ctx, x)
					}
					if err == nil {
						d.Connected(x)
						n := inside[x.replica.Address].Add(1)
						if concurrency > 0 && n > int64(concurrency) {
							t.Errorf("%d requests at one replica", n)
						}
						inside[x.replica.Address].Add(-1)
					}
					d.Leave(x, true)
					cancel()
				}
			})
		}
		working.Wait()
		close(stop)
		changing.Wait()
		d.mu.Lock()
		for _, r := range d.known {
			if r.inFlight != 0 || r.probing {
				t.Errorf("replica %s is left with %d requests, probing %v", r.Address, r.inFlight, r.probing)
			}
		}
		if d.queue.length != 0 || d.queue.first != nil || d.meter.inFlight != 0 || d.meter.waiting != 0 || all.waiting.Load() != 0 {
			t.Errorf("left: queue %d, in flight %d, waiting %d, %d", d.queue.length, d.meter.inFlight, d.meter.waiting, all.waiting.Load())
		}
		d.mu.Unlock()
	}
}

func TestMeterIntegrates(t *testing.T) {
	var m meter
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	m.last = at(0)
	m.enter(at(1), false)
	m.enter(at(2), true)
	if got, want := m.take(at(4)), (Load{Issued: 2, Concurrency: 1 + 2*2, Streams: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	m.leave(at(5), false, true)
	m.leave(at(3), true, false) // a clock that was read earlier
	if got, want := m.take(at(10)), (Load{Succeeded: 1, Failed: 1, Concurrency: 2, Streams: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
