package xds

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// everything as a name asks for all resources of a type.
const everything = "*"

// maxName bounds a resource name, in bytes.
const maxName = 2048

// nameCost is what a name that a client asks for takes beside its own bytes, in entries of the watch's and the table's maps: 40 clients
// with 100,000 names each took 1.4 GB.
const nameCost = 350

// reserve takes the memory of a name that a client asks for, and reports false when there is none left for its role; mu is held.
func (s *store) reserve(st *stream, name string) bool {
	most := st.server.options.Memory
	if st.role == RoleMesh { // whoever comes may be one
		most /= 2
	}
	taken := s.asked[1]
	if st.role != RoleMesh {
		taken += s.asked[0]
	}
	if taken >= most {
		return false
	}
	s.asked[meshIndex(st.role)] += nameCost + len(name)
	return true
}

// free gives it back; mu is held.
func (s *store) free(st *stream, name string) { s.asked[meshIndex(st.role)] -= nameCost + len(name) }

// meshIndex is 1 for the role that anybody may have, and else 0.
func meshIndex(role uint8) int {
	if role == RoleMesh {
		return 1
	}
	return 0
}

// subscriber changes what one watch wants. It is used while the store is held.
type subscriber struct {
	watch *watch
	store *store
	table *table
	// since is the state that what the client asks for belongs to. What a new stream asks for may have changed in any state: its client
	// may have what it had on an earlier stream, and has not answered for any state until it has the difference.
	since uint64
}

// subscribing runs a change of what a watch wants with the store held.
func (st *stream) subscribing(w *watch, first bool, change func(subscriber) error) error {
	store := st.server.store
	store.mu.Lock()
	defer store.mu.Unlock()
	defer store.drop(st.role, w.url)
	since := store.seq
	if first {
		since = min(since, 1)
	}
	return change(subscriber{w, store, store.table(st.role, w.url), since})
}

// asked sees to it that what a client asked for is not kept waiting behind what is under way.
func (st *stream) asked(w *watch, first bool) {
	switch {
	case w.kind.stage == stageRoute:
		st.wave = nil
	case first:
		w.urgent = true
		st.retake() // its routes may name what the client is only now asking for
	default:
		w.urgent = true
	}
}

// want is a client's asking for a name: what there is, is sent, even if it was sent before; and that there is nothing, too.
func (s subscriber) want(name string) error {
	if len(name) > maxName {
		return status.Errorf(codes.InvalidArgument, "a resource name has %d bytes; at most %d are taken", len(name), maxName)
	}
	w := s.watch
	it := w.items[name]
	if !it.named {
		if limit := w.stream.server.options.MaxNames; w.named >= limit {
			return status.Errorf(codes.ResourceExhausted, "a stream may ask for %d names of %s", limit, w.url)
		}
		if !s.store.reserve(w.stream, name) {
			return status.Errorf(codes.ResourceExhausted, "the names that all clients ask for take as much memory as they may (%d MiB): ask for fewer, or come back later",
				w.stream.server.options.Memory>>20)
		}
		it.named = true
		w.named++
		w.items[name] = it
		s.table.named[name] = append(s.table.named[name], w)
		s.store.join(s.table, name)
	}
	since := s.since
	if x, ok := w.stream.expects[w.url][name]; ok {
		since = min(since, x.since) // until it has this, it has not all of that state
	}
	w.stream.met(w.url, name)
	s.tell(name, since)
	return nil
}

// wantAny is a client's asking for a name, or for everything.
func (s subscriber) wantAny(name string) error {
	if name == everything {
		return s.wantAll()
	}
	return s.want(name)
}

// tell makes what a name is now due to be sent, as part of the state since which it is due.
func (s subscriber) tell(name string, since uint64) {
	w := s.watch
	e := s.table.entries[name]
	if e == nil && w.items[name].sent != nil {
		s.doom(name)
		return
	}
	w.pending.put(name, e, since)
}

func (s subscriber) doom(name string) {
	if _, ok := s.watch.doomed[name]; !ok {
		s.watch.doomed[name] = s.since
	}
}

// wantAll is a client's asking for everything.
func (s subscriber) wantAll() error {
	if w := s.watch; w.stream.namesOnly {
		return status.Errorf(codes.PermissionDenied, "all resources of %s are for clients that have proved who they are; this one has to name those that it wants", w.url)
	}
	s.addAll()
	return nil
}

// addAll has the client get everything that it does not have; all, if it asks again.
func (s subscriber) addAll() {
	w := s.watch
	again := w.wildcard
	w.wildcard = true
	s.table.all[w] = struct{}{}
	if !again {
		for name := range s.table.trials {
			s.store.join(s.table, name)
		}
	}
	since := s.since
	for _, x := range w.stream.expects[w.url] {
		since = min(since, x.since)
	}
	delete(w.stream.expects, w.url)
	had := len(w.items)
	for name, e := range s.table.entries {
		if sent := w.items[name].sent; again || sent == nil || sent.Version != e.Version {
			w.pending.put(name, e, since)
		}
	}
	for name, it := range w.items {
		if it.sent != nil && s.table.entries[name] == nil {
			s.doom(name)
		}
	}
	if had == 0 && w.pending.empty() {
		w.owed = true
	}
}

// release lets go of a name. Where everything is wanted too, the resource stays, and the caller decides whether to say so.
func (s subscriber) release(name string) (released bool) {
	w := s.watch
	it := w.items[name]
	if !it.named {
		return false
	}
	s.unlist(name)
	w.named--
	it.named = false
	if w.items[name] = it; !w.wildcard {
		w.forget(name)
	} else if it.sent == nil {
		delete(w.items, name)
	}
	return true
}

// unlist takes the watch out of the table's list of those that want a name.
func (s subscriber) unlist(name string) {
	s.store.free(s.watch.stream, name)
	list := s.table.named[name]
	i := slices.Index(list, s.watch)
	list[i] = list[len(list)-1]
	list[len(list)-1] = nil
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(s.table.named, name)
		return
	}
	s.table.named[name] = list
}

// releaseAll ends the wish for everything; what is wanted by name stays.
func (s subscriber) releaseAll() {
	w := s.watch
	w.wildcard = false
	w.owed = false
	delete(s.table.all, w)
	for name, it := range w.items {
		if !it.named {
			w.forget(name)
		}
	}
	// What was never sent has no item.
	for _, c := range []*changes{&w.pending, &w.batch} {
		for name := range c.set {
			if !w.items[name].named {
				delete(c.set, name)
			}
		}
	}
}

// leave ends a stream's interest in everything.
func (st *stream) leave() {
	for _, w := range st.watches {
		_ = st.subscribing(w, false, func(s subscriber) error {
			delete(s.table.all, w)
			for name, it := range w.items {
				if it.named {
					s.unlist(name)
				}
			}
			for name := range w.refused {
				s.store.pardon(w, name)
			}
			return nil
		})
	}
}
