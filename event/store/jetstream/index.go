package jetstream

import (
	"container/heap"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/event/store"
	"sluice.dev/sluice/event/task"
)

// index is what a process knows of all tasks: what the watch has brought, and its own writes.
type index struct {
	mu      sync.Mutex
	entries map[string]*entry
	lines   map[string]*line // of the revisions with open tasks
	later   queue            // what becomes due by its time, the next one first
	sending queue            // what has something to deliver now
	ended   queue            // what has nothing to do any more, the first that ended first
	open    int
	bytes   int64
	kept    int64
}

// line has the open tasks of a revision.
type line struct {
	ages          queue // all, the oldest first
	due           queue // those that are due, the oldest first
	open, running int
	dueWaiting    int
}

// entry is a task. The queues keep entries that have been replaced until they reach the top.
type entry struct {
	id       string
	of       string // its revision
	state    task.State
	accepted time.Time
	next     time.Time
	ended    time.Time
	key      string
	bytes    int64
	revision uint64 // of the key
	due      bool   // it waits, and stands in the queue of what is due
	stale    bool
}

func newIndex() *index {
	return &index{
		entries: map[string]*entry{}, lines: map[string]*line{},
		later: queue{less: sooner}, sending: queue{less: sooner}, ended: queue{less: endedBefore},
	}
}

func sooner(a, b *entry) bool      { return a.next.Before(b.next) }
func older(a, b *entry) bool       { return a.id < b.id }
func endedBefore(a, b *entry) bool { return a.ended.Before(b.ended) }

// put takes a record. One that is older than what is known changes nothing.
func (x *index) put(r *record, revision uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := &r.Task
	if known := x.entries[t.ID]; known != nil && known.revision >= revision {
		return
	}
	x.take(t.ID)
	e := &entry{
		id: t.ID, of: t.Revision, state: t.State, accepted: t.Accepted, next: t.Next(), ended: t.Ended, key: t.Key,
		bytes: r.bytes(), revision: revision,
	}
	x.entries[e.id] = e
	switch {
	case e.state.Open():
		l := x.lines[e.of]
		if l == nil {
			l = &line{ages: queue{less: older}, due: queue{less: older}}
			x.lines[e.of] = l
		}
		x.open++
		x.bytes += e.bytes
		l.open++
		if e.state == task.Running {
			l.running++
		}
		heap.Push(&l.ages, e)
		heap.Push(&x.later, e)
	case !e.next.IsZero():
		x.kept += e.bytes
		heap.Push(&x.later, e)
	default:
		x.kept += e.bytes
		heap.Push(&x.ended, e)
	}
}

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
	e.stale = true
	if !e.state.Open() {
		x.kept -= e.bytes
		return
	}
	x.open--
	x.bytes -= e.bytes
	l := x.lines[e.of]
	l.open--
	if e.state == task.Running {
		l.running--
	}
	if e.due {
		l.dueWaiting--
	}
	if l.open == 0 {
		delete(x.lines, e.of)
	}
}

// admit says whether there is room for one more task.
func (x *index) admit(revision string, size int64, limits store.Limits) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if l := x.lines[revision]; x.open >= limits.Open || l != nil && l.open >= limits.OpenOfRevision {
		return store.ErrTooMany
	}
	if x.bytes+size > limits.Bytes {
		return store.ErrFull
	}
	return nil
}

// advance moves what has become due to where it is taken from.
func (x *index) advance(now time.Time) {
	for {
		e := x.later.top()
		if e == nil || e.next.After(now) {
			return
		}
		heap.Pop(&x.later)
		if !e.state.Open() {
			heap.Push(&x.sending, e)
			continue
		}
		l := x.lines[e.of]
		heap.Push(&l.due, e)
		if e.state == task.Waiting {
			e.due = true
			l.dueWaiting++
		}
	}
}

func (x *index) due(now time.Time, room func(string) int) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.advance(now)
	var ids []string
	for revision, l := range x.lines {
		if l.due.top() != nil {
			ids = l.due.first(ids, room(revision))
		}
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
	if e := x.later.top(); e != nil {
		return e.next
	}
	return time.Time{}
}

func (x *index) depths() map[string]store.Depth {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make(map[string]store.Depth, len(x.lines))
	for revision, l := range x.lines {
		all[revision] = store.Depth{Waiting: l.open - l.running, Due: l.dueWaiting, Running: l.running, Oldest: l.ages.top().accepted}
	}
	return all
}

func (x *index) usage() store.Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return store.Usage{Open: x.open, Bytes: x.bytes, ResultBytes: x.kept}
}

// expired returns the task that is to be removed first, if there is one to remove: for its age, or because the ended ones have too many
// bytes.
func (x *index) expired(now time.Time, limits store.Limits) (id, key string, aged, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.ended.top()
	if e == nil {
		return "", "", false, false
	}
	aged = !now.Before(e.ended.Add(limits.Retention))
	return e.id, e.key, aged, aged || x.kept > limits.ResultBytes
}

// list returns the first IDs that a query selects.
func (x *index) list(q store.Query) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []string
	for id, e := range x.entries {
		if id <= q.After || q.Revision != "" && e.of != q.Revision || q.State != "" && e.state != q.State ||
			q.Namespace != "" && !strings.HasPrefix(e.of, q.Namespace+"/") {
			continue
		}
		if ids = append(ids, id); len(ids) > 4*q.Limit+1024 {
			slices.Sort(ids)
			ids = ids[:q.Limit]
		}
	}
	slices.Sort(ids)
	return ids[:min(len(ids), q.Limit)]
}

// queue is a heap of entries. Stale ones are dropped when they reach the top.
type queue struct {
	items []*entry
	less  func(a, b *entry) bool
}

// Len is part of heap.Interface.
func (q *queue) Len() int { return len(q.items) }

// Less is part of heap.Interface.
func (q *queue) Less(i, j int) bool { return q.less(q.items[i], q.items[j]) }

// Swap is part of heap.Interface.
func (q *queue) Swap(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] }

// Push is part of heap.Interface.
func (q *queue) Push(v any) { q.items = append(q.items, v.(*entry)) }

// Pop is part of heap.Interface.
func (q *queue) Pop() any {
	last := len(q.items) - 1
	e := q.items[last]
	q.items[last] = nil
	q.items = q.items[:last]
	return e
}

// top is the first entry that is not stale, or nil.
func (q *queue) top() *entry {
	for len(q.items) > 0 {
		if e := q.items[0]; !e.stale {
			return e
		}
		heap.Pop(q)
	}
	return nil
}

// first appends the IDs of the first n entries, and leaves them where they are.
func (q *queue) first(ids []string, n int) []string {
	var taken []*entry
	for len(taken) < n {
		e := q.top()
		if e == nil {
			break
		}
		heap.Pop(q)
		taken = append(taken, e)
		ids = append(ids, e.id)
	}
	for _, e := range taken {
		heap.Push(q, e)
	}
	return ids
}
