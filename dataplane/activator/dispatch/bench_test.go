package dispatch

import (
	"fmt"
	"testing"
	"time"
)

// many makes the assignment of n replicas that nobody runs.
func many(n, concurrency int) *Assignment {
	a := &Assignment{Concurrency: concurrency}
	for i := range n {
		a.Endpoints = append(a.Endpoints, fmt.Sprintf("10.%d.%d.%d:8012", i>>16, i>>8&255, i&255))
	}
	return a
}

// BenchmarkDispatch is one request in and out of the dispatcher: with a free slot, and through the queue.
func BenchmarkDispatch(b *testing.B) {
	for _, replicas := range []int{1, 100, 10000} {
		for _, concurrency := range []int{0, 1, 10} {
			b.Run(fmt.Sprintf("free/replicas=%d/concurrency=%d", replicas, concurrency), func(b *testing.B) {
				d := New(10_000, NewPending(50_000), func() {})
				d.Apply(many(replicas, concurrency), -1)
				b.ReportAllocs()
				for b.Loop() {
					t := Ticket{Arrived: time.Now()}
					if err := d.Enter(&t); err != nil || t.replica == nil {
						b.Fatal(err)
					}
					d.Leave(&t, true)
				}
			})
		}
	}
	for _, waiting := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("queue/waiting=%d", waiting), func(b *testing.B) {
			d := New(20_000, NewPending(50_000), func() {})
			d.Apply(many(1, 1), -1)
			runs := &Ticket{Arrived: time.Now()}
			queued := make([]*Ticket, waiting)
			_ = d.Enter(runs)
			for i := range queued {
				queued[i] = &Ticket{Arrived: time.Now()}
				_ = d.Enter(queued[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.Leave(runs, true) // the first in the queue gets the slot
				runs = queued[i%waiting]
				<-runs.turn
				queued[i%waiting] = &Ticket{Arrived: time.Now()}
				_ = d.Enter(queued[i%waiting])
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		d := New(10_000, NewPending(50_000), func() {})
		d.Apply(many(10, 10), -1)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				t := Ticket{Arrived: time.Now()}
				_ = d.Enter(&t)
				d.Leave(&t, true)
			}
		})
	})
}

// BenchmarkTasks is one task through the queue, behind 10,000 others: entered, leased a slot and ended.
func BenchmarkTasks(b *testing.B) {
	const waiting = 10_000
	for _, senders := range []int{1, 1000} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			d := New(2*waiting, NewPending(2*waiting), func() {})
			d.Apply(tasksOn(1), -1)
			names := make([]string, senders)
			for i := range names {
				names[i] = fmt.Sprint("sender-", i)
			}
			runs := &Ticket{Arrived: time.Now()}
			_ = d.Enter(runs)
			sent := make(chan *Ticket, waiting+1) // the order within a sender; with turns it is that of all
			enter := func(i int) {
				x := &Ticket{Arrived: time.Now(), Sender: names[i%senders]}
				_ = d.Enter(x)
				sent <- x
			}
			for i := range waiting {
				enter(i)
			}
			b.ReportAllocs()
			for i := waiting; b.Loop(); i++ {
				d.Leave(runs, true)
				runs = <-sent
				<-runs.turn
				enter(i)
			}
		})
	}
}

// BenchmarkEndpoints is a change of one replica of many.
func BenchmarkEndpoints(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("replicas=%d", n), func(b *testing.B) {
			d := New(10_000, NewPending(50_000), func() {})
			with, without := many(n, 10), many(n-1, 10)
			b.ReportAllocs()
			for b.Loop() {
				d.Apply(with, -1)
				d.Apply(without, -1)
			}
		})
	}
}
