package client

import (
	"maps"
	"slices"
)

// subscription is what a client wants and has of one type. Its client's mutex guards it.
type subscription struct {
	names    map[string]struct{} // wanted; may hold Wildcard
	versions map[string]string   // accepted: name to version
	asked    map[string]struct{} // what the present stream was told of names
	dropped  map[string]struct{} // removed since the stream was told last
	fresh    bool                // the present stream has not heard of this type yet
}

func newSubscription() *subscription {
	return &subscription{
		names:    map[string]struct{}{},
		versions: map[string]string{},
		asked:    map[string]struct{}{},
		dropped:  map[string]struct{}{},
		fresh:    true,
	}
}

func (s *subscription) add(name string) { s.names[name] = struct{}{} }

func (s *subscription) remove(name string) {
	delete(s.names, name)
	s.dropped[name] = struct{}{}
	if name == Wildcard {
		maps.DeleteFunc(s.versions, func(held, _ string) bool { return !s.wants(held) })
	} else if !s.wants(name) {
		delete(s.versions, name)
	}
}

// wants is whether a resource of this name belongs to the subscription.
func (s *subscription) wants(name string) bool {
	if _, ok := s.names[name]; ok {
		return true
	}
	_, ok := s.names[Wildcard]
	return ok
}

// restart forgets what the last stream knew.
func (s *subscription) restart() {
	s.asked = map[string]struct{}{}
	clear(s.dropped)
	s.fresh = true
}

// difference is what the stream must still be told; both are sorted. It assumes that they will be told. A name that was let
// go of and taken up again in between is subscribed again, which makes the server send it once more.
func (s *subscription) difference() (subscribe, unsubscribe []string) {
	for name := range s.names {
		_, asked := s.asked[name]
		if _, dropped := s.dropped[name]; !asked || dropped {
			subscribe = append(subscribe, name)
		}
	}
	for name := range s.asked {
		if _, ok := s.names[name]; !ok {
			unsubscribe = append(unsubscribe, name)
		}
	}
	s.asked = maps.Clone(s.names)
	clear(s.dropped)
	slices.Sort(subscribe)
	slices.Sort(unsubscribe)
	return subscribe, unsubscribe
}

// accept records what an acknowledged update brought.
func (s *subscription) accept(u Update) {
	for _, r := range u.Set {
		if s.wants(r.Name) {
			s.versions[r.Name] = r.Version
		}
	}
	for _, name := range u.Removed {
		delete(s.versions, name)
	}
}
