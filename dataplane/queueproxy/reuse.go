package queueproxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// reuse records for how long an application keeps idle HTTP/1.1 connections. Most keep them for longer than model.IdleApplication. When an
// application has closed a connection sooner, later connections are closed after half that time. A request on a connection that is being
// closed is lost: it is unknown whether the application has received it.
type reuse struct {
	kept atomic.Int64 // nanoseconds; 0 is unknown
}

// closedAfter records that the application has closed a connection that was idle for so long.
func (u *reuse) closedAfter(idle time.Duration) {
	for {
		before := u.kept.Load()
		if before != 0 && before <= int64(idle) || u.kept.CompareAndSwap(before, max(int64(idle), 1)) {
			return
		}
	}
}

// reset is for an application that does not listen: it was its end that closed the connections, and the next process may keep them longer.
func (u *reuse) reset() { u.kept.Store(0) }

// limit returns for how long a connection may be idle; 0 is no limit but the transport's.
func (u *reuse) limit() time.Duration { return time.Duration(u.kept.Load()) / 2 }

// idleness measures for how long a connection has been idle, and closes it when that is too long.
type idleness struct {
	idleBefore atomic.Int64 // nanoseconds that it was idle before its current request; 0 once the answer has begun, and for the first one

	// Guarded by mu.
	mu      sync.Mutex
	by      *reuse    // of the application
	turn    uint64    // number of the current or last request
	since   time.Time // when the last request was over; zero while one is in flight
	retired bool      // it gets no request any more
}

// begin records that the connection is idle after a turn, and closes it when it has been idle for too long. The transport may call it after
// the connection has got its next request; then it does nothing.
func (i *idleness) begin(turn uint64, closeConn func() error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if turn != i.turn {
		return
	}
	i.since = time.Now()
	if limit := i.by.limit(); limit > 0 {
		time.AfterFunc(limit, func() {
			if i.retire(turn) {
				_ = closeConn() // the application may have closed it before
			}
		})
	}
}

// retire gives the connection no further request, unless it has got one since that turn.
func (i *idleness) retire(turn uint64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.retired = i.retired || i.turn == turn
	return i.turn == turn
}

// end records that the connection gets a request. It returns the number of the turn, and whether the connection may carry it.
func (i *idleness) end(by *reuse) (turn uint64, may bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.by = by
	i.turn++
	if i.retired {
		return i.turn, false
	}
	if i.since.IsZero() {
		return i.turn, true
	}
	idle := max(time.Since(i.since), 1)
	i.since = time.Time{}
	i.idleBefore.Store(int64(idle))
	limit := by.limit()
	return i.turn, limit == 0 || idle < limit // the timer may be late
}

// read takes the result of a Read from the connection.
func (i *idleness) read(n int, err error) {
	if n > 0 {
		i.idleBefore.Store(0)
		return
	}
	if err == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.by == nil || i.retired {
		return
	}
	idle := time.Duration(i.idleBefore.Load())
	if !i.since.IsZero() {
		idle = time.Since(i.since)
	}
	if idle > 0 {
		i.by.closedAfter(idle)
	}
}
