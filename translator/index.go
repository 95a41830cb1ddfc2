package translator

import (
	"cmp"
	"slices"
	"time"

	"sluice.dev/sluice/model"
)

// claimant is what a Route needs of the rest of the World. It keeps its pointer while that does not change.
type claimant struct {
	key     model.Key
	created time.Time
	yields  bool
	// hosts are all the host names that the Route claims, refs all the revisions that it names; both sorted and without repetition.
	hosts []string
	refs  []model.Key
}

func (c *claimant) equal(other *claimant) bool {
	return c.key == other.key && c.created.Equal(other.created) && c.yields == other.yields &&
		slices.Equal(c.hosts, other.hosts) && slices.Equal(c.refs, other.refs)
}

// entry says that a Route claims a name.
type entry struct {
	name string
	by   *claimant
}

// compare orders the entries of a name by seniority: those that do not yield first, then the older Route, then the lower key.
func (e entry) compare(other entry) int {
	return cmp.Or(cmp.Compare(e.name, other.name), yielding(e.by)-yielding(other.by),
		e.by.created.Compare(other.by.created), e.by.key.Compare(other.by.key))
}

func yielding(c *claimant) int {
	if c.yields {
		return 1
	}
	return 0
}

// index has which Routes claim which name, sorted by entry.compare. It is immutable.
type index []entry

// update returns the index without removed and with added. It copies the blocks between the edits, which at tens of thousands of names
// costs less than maps.
func (x index) update(removed, added []entry) index {
	type change struct {
		entry
		add bool
	}
	changes := make([]change, 0, len(removed)+len(added))
	for _, e := range removed {
		changes = append(changes, change{e, false})
	}
	for _, e := range added {
		changes = append(changes, change{e, true})
	}
	if len(changes) == 0 {
		return x
	}
	slices.SortStableFunc(changes, func(a, b change) int { return a.compare(b.entry) })
	next, rest := make(index, 0, len(x)+len(added)), x
	for _, c := range changes {
		at, found := slices.BinarySearchFunc(rest, c.entry, entry.compare)
		next, rest = append(next, rest[:at]...), rest[at:]
		switch {
		case c.add:
			next = append(next, c.entry)
		case found:
			rest = rest[1:]
		}
	}
	return append(next, rest...)
}

// of returns the entries of one name, the most senior first.
func (x index) of(name string) []entry {
	byName := func(e entry, name string) int { return cmp.Compare(e.name, name) }
	start, _ := slices.BinarySearchFunc(x, name, byName)
	end := start
	for end < len(x) && x[end].name == name {
		end++
	}
	return x[start:end]
}
