package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// owner is the activator that owns the revision when that is another one. It takes any number of tasks.
const owner = "10.9.9.9:8012"

// tasksOn makes the assignment of n replicas that take one task at a time.
func tasksOn(n int) *Assignment {
	a := many(n, 1)
	a.Tasks, a.Owner = true, owner
	return a
}

// newTasks makes a dispatcher of tasks on n replicas.
func newTasks(n int) *Dispatcher {
	d := New(10_000, NewPending(50_000), func() {})
	d.Apply(tasksOn(n), -1)
	return d
}

func TestTasksTakeTurns(t *testing.T) {
	for name, c := range map[string]struct{ waiting, want string }{
		"one sender, first come, first served": {"a1 a2 a3", "a1 a2 a3"},
		"senders":                              {"a1 a2 a3 a4 b1 b2 c1", "a1 b1 c1 a2 b2 a3 a4"},
		"priorities":                           {"l1- n1 h1+", "h1+ n1 l1-"},
		"low is not starved": {
			"l1- l2- n1 n2 n3 n4 n5 " + strings.TrimSpace(strings.Repeat("h+ ", 18)),
			"h+ h+ n1 h+ h+ h+ h+ n2 h+ h+ l1- h+ h+ n3 h+ h+ h+ h+ n4 h+ h+ h+ h+ n5 l2-",
		},
	} {
		d := newTasks(1)
		runs := &Ticket{Arrived: time.Now()}
		_ = d.Enter(runs)
		tickets := map[*Ticket]string{}
		for _, id := range strings.Fields(c.waiting) {
			x := &Ticket{Arrived: time.Now(), Sender: id[:1]}
			switch id[len(id)-1] {
			case '+':
				x.Priority = High
			case '-':
				x.Priority = Low
			}
			tickets[x] = id
			if err := d.Enter(x); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for range len(tickets) {
			d.Leave(runs, true)
			for x, id := range tickets {
				if x.replica != nil {
					runs = x
					got = append(got, id)
					delete(tickets, x)
					break
				}
			}
		}
		if name == "low is not starved" {
			// Of 21 slots 16, 4 and 1; the order within them is that of the weights.
			first := got[:21]
			if n := count(first, '+'); n != 16 || count(first, '-') != 1 {
				t.Errorf("of the first 21 slots %d are high and %d low: %v", n, count(first, '-'), got)
			}
			continue
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func count(of []string, mark byte) (n int) {
	for _, id := range of {
		if id[len(id)-1] == mark {
			n++
		}
	}
	return n
}

// A task that its replica has refused comes before all others, also those of a higher priority.
func TestRefusedTaskComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTasks(1)
		refused, high := &Ticket{Arrived: time.Now(), Priority: Low}, &Ticket{Arrived: time.Now(), Priority: High}
		_ = d.Enter(refused)
		_ = d.Enter(high)
		d.Refused(refused)
		if err := d.Wait(t.Context(), refused); err != nil || high.replica != nil {
			t.Fatalf("the refused task: %v; the other one has %v", err, high.replica)
		}
		d.Leave(refused, true)
		if err := d.Wait(t.Context(), high); err != nil {
			t.Fatal(err)
		}
		d.Leave(high, true)
	})
}

// anyTask is a task of the property test.
type anyTask struct {
	Ticket
	id int
}

// TestTasksByRandomOperations enters, cancels, refuses and ends tasks while replicas come and go and the owner changes.
func TestTasksByRandomOperations(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { randomTasks(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func randomTasks(t *testing.T, r *rand.Rand) {
	d := newTasks(0)
	var inside []*anyTask
	ended, entered, replicas := 0, 0, 0
	handsOver := false
	check := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		running := map[*Replica]int{}
		waiting := 0
		for _, x := range inside {
			if x.replica != nil {
				running[x.replica]++
			} else if x.waiting {
				waiting++
			} else {
				t.Fatal("a task neither waits nor runs")
			}
		}
		for at, n := range running {
			if n != at.inFlight || n > 1 && at.Address != owner {
				t.Fatalf("%s has %d tasks, counted %d", at.Address, n, at.inFlight)
			}
		}
		if waiting != d.queue.waiting() || waiting != d.meter.waiting || int64(waiting) != d.pending.Waiting() {
			t.Fatalf("%d wait, counted %d, %d", waiting, d.queue.waiting(), d.meter.waiting)
		}
		if waiting > 0 && d.policy.pick() != nil {
			t.Fatal("a task waits although a replica has room")
		}
	}
	for range 400 {
		switch op := r.IntN(10); {
		case op < 4:
			x := &anyTask{id: entered}
			entered++
			x.Arrived, x.Sender, x.Priority = time.Now(), fmt.Sprint(r.IntN(4)), Priority(r.IntN(3))
			if err := d.Enter(&x.Ticket); err != nil {
				t.Fatal(err)
			}
			inside = append(inside, x)
		case op < 7 && len(inside) > 0: // ends, or is cancelled while it waits
			i := r.IntN(len(inside))
			d.Leave(&inside[i].Ticket, true)
			inside = slices.Delete(inside, i, i+1)
			ended++
		case op < 8:
			for _, x := range inside {
				if x.holds(d) {
					<-x.turnOrNone()
					d.Refused(&x.Ticket)
					break
				}
			}
			time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
			synctest.Wait()
		default:
			replicas = max(0, min(20, replicas+r.IntN(7)-3))
			handsOver = r.IntN(8) == 0
			a := tasksOn(replicas)
			a.HandOver = handsOver
			d.Apply(a, -1)
		}
		check()
	}
	a := tasksOn(20)
	d.Apply(a, -1)
	for len(inside) > 0 { // all of them get a slot: none is lost, none starves
		time.Sleep(maxBackOff)
		synctest.Wait()
		before := len(inside)
		inside = slices.DeleteFunc(inside, func(x *anyTask) bool {
			if !x.holds(d) {
				return false
			}
			d.Connected(&x.Ticket)
			d.Leave(&x.Ticket, true)
			ended++
			return true
		})
		if len(inside) == before {
			t.Fatalf("%d tasks get no slot", before)
		}
	}
	if ended != entered {
		t.Fatalf("%d of %d tasks ended", ended, entered)
	}
}

// holds reports whether the task has a slot.
func (x *anyTask) holds(d *Dispatcher) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return x.replica != nil
}

// turnOrNone is the channel with the token of a slot; closed when the ticket has never waited, or its token was taken.
func (x *anyTask) turnOrNone() <-chan struct{} {
	if len(x.turn) > 0 {
		return x.turn
	}
	none := make(chan struct{})
	close(none)
	return none
}

// What was handed over, and what runs at a replica that ends, needs no replica of those that stay.
func TestTasksThatNeedAReplicaAreCounted(t *testing.T) {
	d := newTasks(2)
	var all []*Ticket
	for range 5 {
		x := &Ticket{Arrived: time.Now()}
		_ = d.Enter(x)
		all = append(all, x)
	}
	wants := func(what string, inFlight, waiting int) {
		t.Helper()
		if _, f, w := d.TakeLoad(); f != inFlight || w != waiting {
			t.Errorf("%s: %d in flight and %d waiting, want %d and %d", what, f, w, inFlight, waiting)
		}
	}
	wants("at first", 5, 3)
	d.Apply(tasksOn(1), -1)
	wants("one of the two busy replicas ends after its task", 4, 3)
	other := tasksOn(1)
	other.HandOver = true
	d.Apply(other, -1)
	wants("another activator is the owner", 1, 0)
	if !all[4].ToOwner() {
		t.Error("a waiting task was not handed over")
	}
	late := &Ticket{Arrived: time.Now(), Handed: true}
	if err := d.Enter(late); !errors.Is(err, ErrNotOwner) {
		t.Errorf("a task that was handed over is taken: %v", err)
	}
}

func TestDeadlineEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newTasks(0)
		x := &Ticket{Arrived: time.Now(), Deadline: time.Now().Add(3 * time.Second)}
		_ = d.Enter(x)
		if err := d.Wait(context.Background(), x); !errors.Is(err, ErrDeadline) || time.Since(x.Arrived) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(x.Arrived))
		}
		d.Leave(x, false)
		ordinary := New(10, NewPending(10), func() {})
		ordinary.Apply(&Assignment{Timeout: time.Minute}, -1)
		y := &Ticket{Arrived: time.Now(), Deadline: time.Now().Add(3 * time.Second)}
		_ = ordinary.Enter(y)
		if err := ordinary.Wait(context.Background(), y); !errors.Is(err, ErrTimeout) {
			t.Errorf("a request that is no task got %v", err)
		}
		ordinary.Leave(y, false)
	})
}

func TestFullQueueSaysWhenToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(10_000, NewPending(50_000), func() {})
		a := tasksOn(2)
		a.MaxWaiting = 10
		d.Apply(a, -1)
		for range 5 {
			x := &Ticket{Arrived: time.Now()}
			_ = d.Enter(x)
			time.Sleep(4 * time.Second)
			d.Leave(x, true)
		}
		for range 12 {
			_ = d.Enter(&Ticket{Arrived: time.Now()})
		}
		var full *FullError
		if err := d.Enter(&Ticket{Arrived: time.Now()}); !errors.As(err, &full) || !errors.Is(err, ErrQueueFull) || full.After != 20*time.Second {
			t.Errorf("got %v, %+v, want 10 tasks of 4 s at two replicas", err, full)
		}
	})
}
