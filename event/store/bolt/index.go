package bolt

import (
	"container/heap"
	"sync"
	"time"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// index knows what is due, and how much is stored. The writer changes it with each operation, and makes it again from the file where a
// transaction failed.
type index struct {
	mu      sync.Mutex
	entries map[string]*entry
	lines   map[string]*line // of the revisions with open tasks
	later   queue            // what becomes due by its time, the next one first
	sending queue            // what has something to deliver now
	open    int
	bytes   int64
	kept    int64
}

// line has the open tasks of a revision.
type line struct {
	ages    queue // all of them, the oldest first
	due     queue // those that are due, the oldest first
	running int
	lapsed  int // of those that run: in due, because their leases have ended
}

// entry is a task that has something to do.
type entry struct {
	id, revision string
	state        task.State
	accepted     time.Time
	next         time.Time
	bytes        int64
	at           [2]int // its places in ages, and in one of the other queues
	in           *queue // which of these it is
}

// The places of an entry.
const (
	placeAge = iota
	placeDue
)

func newIndex() *index {
	x := &index{}
	x.reset(0)
	return x
}

// reset empties the index, but for the bytes of the ended tasks.
func (x *index) reset(kept int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries, x.lines, x.open, x.bytes, x.kept = map[string]*entry{}, map[string]*line{}, 0, 0, kept
	x.later, x.sending = queue{place: placeDue, less: sooner}, queue{place: placeDue, less: sooner}
}

func sooner(a, b *entry) bool { return a.next.Before(b.next) }
func older(a, b *entry) bool  { return a.id < b.id }

// admit says whether there is room for one more task.
func (x *index) admit(t *task.Task, size int64, limits store.Limits) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.open >= limits.Open {
		return store.ErrTooMany
	}
	if l := x.lines[t.Revision]; l != nil && l.ages.Len() >= limits.OpenOfRevision {
		return store.ErrTooMany
	}
	if x.bytes+size+recordBytes > limits.Bytes {
		return store.ErrFull
	}
	return nil
}

// recordBytes is how many bytes a record is counted as, beside its request. Records are about half as long, and grow with every try.
const recordBytes = 1024

// put adds a task that has something to do, or replaces it. size is that of its request.
func (x *index) put(t *task.Task, size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.take(t.ID)
	e := &entry{id: t.ID, revision: t.Revision, state: t.State, accepted: t.Accepted, next: t.Next(), bytes: size + recordBytes}
	x.entries[e.id] = e
	if e.state.Open() {
		x.open++
		x.bytes += e.bytes
		l := x.lines[e.revision]
		if l == nil {
			l = &line{ages: queue{place: placeAge, less: older}, due: queue{place: placeDue, less: older}}
			x.lines[e.revision] = l
		}
		heap.Push(&l.ages, e)
		if e.state == task.Running {
			l.running++
		}
	}
	x.enqueue(&x.later, e)
}

// remove forgets a task.
func (x *index) remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.take(id)
}

func (x *index) take(id string) {
	e := x.entries[id]
	if e == nil {
		return
	}
	delete(x.entries, id)
	heap.Remove(e.in, e.at[placeDue])
	if !e.state.Open() {
		return
	}
	x.open--
	x.bytes -= e.bytes
	l := x.lines[e.revision]
	heap.Remove(&l.ages, e.at[placeAge])
	if e.state == task.Running {
		l.running--
		if e.in == &l.due {
			l.lapsed--
		}
	}
	if l.ages.Len() == 0 {
		delete(x.lines, e.revision)
	}
}

func (x *index) enqueue(q *queue, e *entry) {
	e.in = q
	heap.Push(q, e)
}

// advance moves what has become due to where it is taken from.
func (x *index) advance(now time.Time) {
	for x.later.Len() > 0 && !x.later.items[0].next.After(now) {
		e := heap.Pop(&x.later).(*entry)
		if e.state.Open() {
			l := x.lines[e.revision]
			x.enqueue(&l.due, e)
			if e.state == task.Running {
				l.lapsed++
			}
		} else {
			x.enqueue(&x.sending, e)
		}
	}
}

func (x *index) due(now time.Time, room func(string) int) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.advance(now)
	var ids []string
	for revision, l := range x.lines {
		if l.due.Len() == 0 {
			continue
		}
		ids = l.due.first(ids, room(revision))
	}
	return ids
}

func (x *index) deliveries(now time.Time, n int) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.advance(now)
	return x.sending.first(nil, n)
}

func (x *index) next() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.later.Len() == 0 {
		return time.Time{}
	}
	return x.later.items[0].next
}

func (x *index) depths() map[string]store.Depth {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make(map[string]store.Depth, len(x.lines))
	for revision, l := range x.lines {
		all[revision] = store.Depth{
			Waiting: l.ages.Len() - l.running, Due: l.due.Len() - l.lapsed, Running: l.running, Oldest: l.ages.items[0].accepted,
		}
	}
	return all
}

func (x *index) usage() store.Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return store.Usage{Open: x.open, Bytes: x.bytes, ResultBytes: x.kept}
}

func (x *index) addKept(size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept += size
}

// queue is a heap of entries that know their places in it.
type queue struct {
	items []*entry
	place int
	less  func(a, b *entry) bool
}

// Len is part of heap.Interface.
func (q *queue) Len() int { return len(q.items) }

// Less is part of heap.Interface.
func (q *queue) Less(i, j int) bool { return q.less(q.items[i], q.items[j]) }

// Swap is part of heap.Interface.
func (q *queue) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].at[q.place], q.items[j].at[q.place] = i, j
}

// Push is part of heap.Interface.
func (q *queue) Push(v any) {
	e := v.(*entry)
	e.at[q.place] = len(q.items)
	q.items = append(q.items, e)
}

// Pop is part of heap.Interface.
func (q *queue) Pop() any {
	last := len(q.items) - 1
	e := q.items[last]
	q.items[last] = nil
	q.items = q.items[:last]
	return e
}

// first appends the IDs of the first n entries, and leaves them where they are.
func (q *queue) first(ids []string, n int) []string {
	var taken []*entry
	for len(taken) < n && q.Len() > 0 {
		e := heap.Pop(q).(*entry)
		taken = append(taken, e)
		ids = append(ids, e.id)
	}
	for _, e := range taken {
		heap.Push(q, e)
	}
	return ids
}
