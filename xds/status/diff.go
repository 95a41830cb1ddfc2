package status

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"
)

// Kind of a difference.
type Kind string

// The kinds.
const (
	Missing  Kind = "missing"  // the client is subscribed to it and does not have it
	Outdated Kind = "stale"    // it has another version
	Denied   Kind = "rejected" // it NACKed what it was sent last
	Extra    Kind = "extra"    // it has what no longer exists
)

// Difference is one resource of which a client does not have what it should.
type Difference struct {
	Kind      Kind       `json:"kind"`
	TypeURL   string     `json:"typeUrl"`
	Name      string     `json:"name"`
	Has       string     `json:"has,omitempty"`   // version
	Wants     string     `json:"wants,omitempty"` // version
	Rejection *Rejection `json:"rejection,omitempty"`

	Before *anypb.Any `json:"-"` // content that the client has; nil: none, or left out
	After  *anypb.Any `json:"-"` // content that it should have
}

type resourceKey struct{ url, name string }

// Diff is what differs between a client and the desired state of its role, in the order of types and names. A client need not have
// what it is not subscribed to.
func Diff(c, desired *Client) []Difference {
	wanted := make(map[resourceKey]*Resource, len(desired.Resources))
	for i := range desired.Resources {
		r := &desired.Resources[i]
		wanted[resourceKey{r.TypeURL, r.Name}] = r
	}
	var found []Difference
	had := map[resourceKey]bool{}
	for i := range c.Resources {
		r := &c.Resources[i]
		key := resourceKey{r.TypeURL, r.Name}
		had[key] = true
		if kind, differs := compare(r, wanted[key]); differs {
			found = append(found, difference(kind, r, wanted[key]))
		}
	}
	for _, t := range c.Types {
		for key, d := range wanted {
			if t.Wildcard && key.url == t.URL && !had[key] {
				found = append(found, difference(Missing, nil, d))
			}
		}
	}
	slices.SortFunc(found, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(shortName(a.TypeURL), shortName(b.TypeURL)), cmp.Compare(a.Name, b.Name))
	})
	return found
}

// compare is how a client's resource differs from the desired one, which is nil where there is none.
func compare(r, desired *Resource) (kind Kind, differs bool) {
	switch {
	case r.State == Rejected:
		return Denied, true
	case desired == nil:
		return Extra, r.Version != ""
	case r.Version == "":
		return Missing, true
	default:
		return Outdated, r.Version != desired.Version
	}
}

func difference(kind Kind, has, wants *Resource) Difference {
	d := Difference{Kind: kind}
	if wants != nil {
		d.TypeURL, d.Name, d.Wants, d.After = wants.TypeURL, wants.Name, wants.Version, wants.Content
	}
	if has == nil {
		return d
	}
	d.TypeURL, d.Name, d.Has, d.Before = has.TypeURL, has.Name, has.Version, has.Content
	if d.Rejection = has.Rejection; kind == Denied && d.Rejection != nil && d.Rejection.Version != "" {
		d.Wants, d.After = d.Rejection.Version, d.Rejection.Content // the NACKed version, whatever is offered in its place
	}
	return d
}
