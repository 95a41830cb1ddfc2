package dispatch

import "time"

// Priority is a level of tasks. The zero value is Normal.
type Priority uint8

// The priorities. Of 21 slots while tasks of all levels wait, High gets 16, Normal 4 and Low 1: none of them starves.
const (
	Normal Priority = iota
	High
	Low
	priorities
)

// weights are the slots that a level gets in turn with the others.
var weights = [priorities]int{Normal: 4, High: 16, Low: 1}

// fair is the queue of a revision whose requests are tasks. Levels take turns by their weights, the senders of a level take turns one task
// at a time, and the tasks of a sender are served in the order of their arrival. All calls take constant time but oldest.
type fair struct {
	back   queue // tasks that are back after a refused connection; they come first
	levels [priorities]level
	length int
	spare  *sender // list by next, to be used again
	spares int
}

// level are the tasks of one priority.
type level struct {
	byName      map[string]*sender
	first, last *sender // those with tasks, in the order of their turns
	credit      int     // what the level has waited for its turn
}

// sender are the waiting tasks of one sender in a level.
type sender struct {
	queue
	name       string
	level      *level
	prev, next *sender
}

// maxSpares bounds how many senders without tasks are kept for later ones.
const maxSpares = 1024

// push puts a task behind those of its sender, or before all others if it was served before.
func (f *fair) push(t *Ticket) {
	f.length++
	if t.back {
		f.back.push(t)
		return
	}
	l := &f.levels[min(t.Priority, priorities-1)]
	s := l.byName[t.Sender]
	if s == nil {
		s = f.newSender(l, t.Sender)
	}
	t.from = s
	s.push(t)
}

func (f *fair) newSender(l *level, name string) *sender {
	s := f.spare
	if s == nil {
		s = &sender{}
	} else {
		f.spare, s.next = s.next, nil
		f.spares--
	}
	s.name, s.level = name, l
	if l.byName == nil {
		l.byName = map[string]*sender{}
	}
	l.byName[name] = s
	l.append(s)
	return s
}

// head returns the task that gets the next slot, nil when none waits. It is the same until the queue changes.
func (f *fair) head() *Ticket {
	if f.back.first != nil {
		return f.back.first
	}
	l := f.next()
	if l == nil {
		return nil
	}
	return l.first.first
}

// next returns the level whose turn it is.
func (f *fair) next() (next *level) {
	most, weight := 0, 0
	for i := range f.levels {
		l := &f.levels[i]
		if l.first == nil {
			continue
		}
		if c := l.credit + weights[i]; next == nil || c > most || c == most && weights[i] > weight {
			next, most, weight = l, c, weights[i]
		}
	}
	return next
}

// take removes the head, which gets a slot, and gives the turn to the next one.
func (f *fair) take(t *Ticket) {
	if !t.back {
		l, sum := t.from.level, 0
		for i := range f.levels {
			if f.levels[i].first != nil {
				f.levels[i].credit += weights[i]
				sum += weights[i]
			}
		}
		l.credit -= sum
		if s := t.from; s.length > 1 && l.first != l.last {
			l.remove(s)
			l.append(s)
		}
	}
	f.remove(t)
}

// remove removes a task that may be anywhere in the queue.
func (f *fair) remove(t *Ticket) {
	f.length--
	if t.back {
		f.back.remove(t)
		return
	}
	s := t.from
	t.from = nil
	s.remove(t)
	if s.length > 0 {
		return
	}
	l := s.level
	l.remove(s)
	delete(l.byName, s.name)
	if l.first == nil {
		l.credit = 0
	}
	if f.spares < maxSpares {
		*s = sender{next: f.spare}
		f.spare = s
		f.spares++
	}
}

// oldest returns the first arrival of those that wait.
func (f *fair) oldest() (at time.Time) {
	sooner := func(q *queue) {
		if q.first != nil && (at.IsZero() || q.first.Arrived.Before(at)) {
			at = q.first.Arrived
		}
	}
	sooner(&f.back)
	for i := range f.levels {
		for s := f.levels[i].first; s != nil; s = s.next {
			sooner(&s.queue)
		}
	}
	return at
}

func (l *level) append(s *sender) {
	s.prev, s.next = l.last, nil
	if l.last == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
}

func (l *level) remove(s *sender) {
	if s.prev == nil {
		l.first = s.next
	} else {
		s.prev.next = s.next
	}
	if s.next == nil {
		l.last = s.prev
	} else {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}
