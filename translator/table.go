package translator

import (
	"slices"

	"sluice.dev/sluice/model"
)

// keyed is an object of the World.
type keyed interface {
	*model.Route | *model.Backend
}

// table has the translation of each object of one kind. Both slices are parallel, sorted by key, and immutable.
type table[In keyed, Part any] struct {
	in    []In
	parts []*Part
}

// edit is one difference between two tables; old is nil for a new entry, and new for a removed one.
type edit[Part any] struct{ old, new *Part }

// update returns the table of now. An object with the same pointer keeps its part. For any other, build makes one, from the old part with
// the same key if there is one.
func (t table[In, Part]) update(now []In, key func(In) model.Key, build func(old *Part, in In) *Part) (table[In, Part], []edit[Part]) {
	if slices.Equal(now, t.in) {
		return t, nil
	}
	now = slices.DeleteFunc(slices.Clone(now), func(in In) bool { return in == nil })
	w := walk[In, Part]{before: t, key: key, build: build}
	if !w.run(now) {
		slices.SortStableFunc(now, func(a, b In) int { return key(a).Compare(key(b)) })
		now = slices.CompactFunc(now, func(a, b In) bool { return key(a) == key(b) })
		w = walk[In, Part]{before: t, key: key, build: build}
		w.run(now)
	}
	return w.after, w.edits
}

// walk merges a sorted slice of objects with the table of those before.
type walk[In keyed, Part any] struct {
	before, after table[In, Part]
	key           func(In) model.Key
	build         func(*Part, In) *Part
	edits         []edit[Part]
	// next is how far before has been read; known says that the last two entries were adjacent in it.
	next  int
	known bool
}

// run reports false when now is not sorted by key. It compares keys only where now differs from before: the order of the rest is known.
func (w *walk[In, Part]) run(now []In) bool {
	w.after = table[In, Part]{in: now, parts: make([]*Part, 0, len(now))}
	for i, in := range now {
		if w.known = w.known && w.next < len(w.before.in) && w.before.in[w.next] == in; w.known {
			w.keep()
			continue
		}
		k := w.key(in)
		if i > 0 && w.key(now[i-1]).Compare(k) >= 0 {
			return false
		}
		w.place(in, k)
	}
	w.drop(len(w.before.in))
	return true
}

func (w *walk[In, Part]) keep() {
	w.after.parts = append(w.after.parts, w.before.parts[w.next])
	w.next++
	w.known = true
}

// place finds the entry of before with the key k, if any, and removes the entries below it.
func (w *walk[In, Part]) place(in In, k model.Key) {
	end := w.next
	for end < len(w.before.in) && w.key(w.before.in[end]).Compare(k) < 0 {
		end++
	}
	w.drop(end)
	if end < len(w.before.in) && w.before.in[end] == in {
		w.keep()
		return
	}
	var old *Part
	w.known = false
	if end < len(w.before.in) && w.key(w.before.in[end]) == k {
		old = w.before.parts[end]
		w.next++
	}
	part := w.build(old, in)
	w.after.parts = append(w.after.parts, part)
	w.edits = append(w.edits, edit[Part]{old, part})
}

func (w *walk[In, Part]) drop(end int) {
	for ; w.next < end; w.next++ {
		w.known = false
		w.edits = append(w.edits, edit[Part]{old: w.before.parts[w.next]})
	}
}

// rebuilt is the table with every part built again.
func (t table[In, Part]) rebuilt(build func(old *Part, in In) *Part) table[In, Part] {
	parts := make([]*Part, len(t.parts))
	for i, in := range t.in {
		parts[i] = build(t.parts[i], in)
	}
	return table[In, Part]{t.in, parts}
}

// extent is where two slices differ: old[from:oldTo] became new[from:newTo], and the rest is the same.
type extent struct{ from, oldTo, newTo int }

func (e extent) empty() bool { return e.from == e.oldTo && e.from == e.newTo }

// difference compares pointers only.
func difference[T any](old, now []*T) extent {
	e := extent{oldTo: len(old), newTo: len(now)}
	for e.from < len(old) && e.from < len(now) && old[e.from] == now[e.from] {
		e.from++
	}
	for e.oldTo > e.from && e.newTo > e.from && old[e.oldTo-1] == now[e.newTo-1] {
		e.oldTo, e.newTo = e.oldTo-1, e.newTo-1
	}
	return e
}
