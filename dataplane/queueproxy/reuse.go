package queueproxy

import (
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
	by    atomic.Pointer[reuse] // of whom it carries requests
	since atomic.Int64          // Unix nanoseconds; 0 while it has a request, givenUp when it is not to have one any more
	spell atomic.Int64          // nanoseconds that it was idle before its present request; 0 where an answer to it has begun, or for the first
}

const givenUp = -1

// begin notes that the connection is idle, and has it closed when that has been so for too long.
func (i *idleness) begin(hangUp func() error) {
	now := time.Now().UnixNano()
	i.since.Store(now)
	if by := i.by.Load(); by != nil && by.limit() > 0 {
		time.AfterFunc(by.limit(), func() {
			if i.since.CompareAndSwap(now, givenUp) {
				_ = hangUp() // the application may have been faster
			}
		})
	}
}

// end notes that the connection gets a request, and tells whether it may.
func (i *idleness) end(by *reuse) bool {
	i.by.Store(by)
	since := i.since.Swap(0)
	if since == givenUp {
		i.since.Store(givenUp)
		return false
	}
	if since == 0 {
		return true
	}
	idle := max(time.Now().UnixNano()-since, 1)
	i.spell.Store(idle)
	limit := by.limit()
	return limit == 0 || idle < int64(limit) // the timer may be late
}

// read looks at what came of reading from the connection.
func (i *idleness) read(n int, err error) {
	if n > 0 {
		i.spell.Store(0)
		return
	}
	by, since := i.by.Load(), i.since.Load()
	if err == nil || by == nil || since == givenUp {
		return
	}
	idle := i.spell.Load()
	if since > 0 {
		idle = time.Now().UnixNano() - since
	}
	if idle > 0 {
		by.closedAfter(time.Duration(idle))
	}
}
