package queueproxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// reuse is what has been learnt of for how long an application keeps idle HTTP/1.1 connections. Most keep them for longer than
// model.IdleApplication. Where one has closed a connection sooner, those that come after are given up in half the time: a request
// that meets a connection which is being closed is lost, for nobody can tell whether the application has seen it.
type reuse struct {
	kept atomic.Int64 // nanoseconds; 0 is nothing learnt
}

// closedAfter learns that the application has closed a connection that was idle for so long.
func (u *reuse) closedAfter(idle time.Duration) {
	for {
		before := u.kept.Load()
		if before != 0 && before <= int64(idle) || u.kept.CompareAndSwap(before, max(int64(idle), 1)) {
			return
		}
	}
}

// forget is for an application that does not listen: another one will, and what closed the connections was the end of this one.
func (u *reuse) forget() { u.kept.Store(0) }

// limit is for how long a connection may be idle; 0 is no limit beyond the transport's.
func (u *reuse) limit() time.Duration { return time.Duration(u.kept.Load()) / 2 }

// idleness is for how long a connection has been without a request, and who closes it.
type idleness struct {
	spell atomic.Int64 // nanoseconds that it was idle before its present request; 0 where an answer to it has begun, or for the first

	mu      sync.Mutex
	by      *reuse    // of whom it carries requests
	turn    uint64    // how many requests it was given
	since   time.Time // when the last of them was over; zero while it is not
	givenUp bool      // it is not to have a request any more
}

// begin notes that the connection is idle after a turn, and has it closed when that has been so for too long. The transport says so
// only when the connection may have its next request already: then this is late, and says nothing.
func (i *idleness) begin(turn uint64, hangUp func() error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if turn != i.turn {
		return
	}
	i.since = time.Now()
	if limit := i.by.limit(); limit > 0 {
		time.AfterFunc(limit, func() {
			if i.giveUp(turn) {
				_ = hangUp() // the application may have been faster
			}
		})
	}
}

// giveUp gives the connection no request any more, unless it has had one since a turn.
func (i *idleness) giveUp(turn uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.givenUp = i.givenUp || i.turn == turn
	return i.turn == turn
}

// end notes that the connection gets a request, returns the number of its turn, and tells whether it may have it.
func (i *idleness) end(by *reuse) (turn uint64, may bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.by = by
	i.turn++
	if i.givenUp {
		return i.turn, false
	}
	if i.since.IsZero() {
		return i.turn, true
	}
	idle := max(time.Since(i.since), 1)
	i.since = time.Time{}
	i.spell.Store(int64(idle))
	limit := by.limit()
	return i.turn, limit == 0 || idle < limit // the timer may be late
}

// read looks at what came of reading from the connection.
func (i *idleness) read(n int, err error) {
	if n > 0 {
		i.spell.Store(0)
		return
	}
	if err == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.by == nil || i.givenUp {
		return
	}
	idle := time.Duration(i.spell.Load())
	if !i.since.IsZero() {
		idle = time.Since(i.since)
	}
	if idle > 0 {
		i.by.closedAfter(idle)
	}
}
