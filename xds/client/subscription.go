package client

import (
	"maps"
	"slices"
)

// subscription is what a client wants and has of one type. Its client's mutex guards it.
type subscription struct {
	names    map[string]struct{} // wanted; may hold Wildcard
	versions map[string]string   // acknowledged: name to version
	asked    map[string]struct{} // names that the present stream has subscribed to
	changed  map[string]bool     // names that it must still send; true: the name was unsubscribed, if only for a moment
	fresh    bool                // the present stream has not sent a request of this type
}

func newSubscription() *subscription {
	return &subscription{
		names:    map[string]struct{}{},
		versions: map[string]string{},
		asked:    map[string]struct{}{},
		changed:  map[string]bool{},
		fresh:    true,
	}
}

func (s *subscription) add(name string) {
	s.names[name] = struct{}{}
	if _, ok := s.changed[name]; !ok {
		s.changed[name] = false
	}
}

func (s *subscription) remove(name string) {
	delete(s.names, name)
	s.changed[name] = true
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

// restart prepares for a new stream.
func (s *subscription) restart() {
	clear(s.asked)
	clear(s.changed)
	for name := range s.names {
		s.changed[name] = false
	}
	s.fresh = true
}

// difference is what the stream must still subscribe to and unsubscribe from, sorted, and records that it does. A name that was
// unsubscribed and subscribed in between is subscribed again, so that the server sends it once more.
func (s *subscription) difference() (subscribe, unsubscribe []string) {
	for name, dropped := range s.changed {
		_, asked := s.asked[name]
		_, wanted := s.names[name]
		switch {
		case wanted && (!asked || dropped):
			subscribe = append(subscribe, name)
			s.asked[name] = struct{}{}
		case !wanted && asked:
			unsubscribe = append(unsubscribe, name)
			delete(s.asked, name)
		}
	}
	clear(s.changed)
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
