package settings

import "net/http"

// LevelChanges are the header changes of one level of a configuration: route configuration, virtual host, route or weighted cluster.
// Nil changes nothing.
type LevelChanges struct{ Request, Response *HeaderChanges }

// HeaderChanges change the headers of a request or of a response.
type HeaderChanges struct {
	Remove []string // in canonical form
	Set    []HeaderChange
}

// HeaderChange sets one header.
type HeaderChange struct {
	Key    string   // in canonical form
	Value  []string // one value. All requests share the slice: its capacity of 1 keeps an append of one from reaching another.
	Action AppendAction
}

// AppendAction is what a change does where the header exists, and where it does not: Envoy's HeaderAppendAction, with the numbers of
// the API.
type AppendAction int32

// The append actions.
const (
	AppendOrAdd AppendAction = iota
	AddIfAbsent
	OverwriteOrAdd
	OverwriteIfExists
)

// Apply removes, then sets: Envoy's order within one level.
func (c *HeaderChanges) Apply(h http.Header) {
	if c == nil {
		return
	}
	for _, key := range c.Remove {
		delete(h, key)
	}
	for i := range c.Set {
		c.Set[i].apply(h)
	}
}

func (c *HeaderChange) apply(h http.Header) {
	_, exists := h[c.Key]
	switch c.Action {
	case AddIfAbsent:
		if exists {
			return
		}
	case OverwriteIfExists:
		if !exists {
			return
		}
	case AppendOrAdd:
		if exists {
			h[c.Key] = append(h[c.Key], c.Value...)
			return
		}
	}
	h[c.Key] = c.Value
}
