package translator

import (
	"cmp"
	"slices"
	"strings"

	"sluice.dev/sluice/model"
)

// mostOwners bounds how many objects a NACK's text can concern.
const mostOwners = 20

// Owners returns the objects whose status should show a client's NACK of a resource. A cluster and its assignment belong to the revision
// and to the Routes that send requests there. Inline RouteConfigurations contain all Routes, so the text decides: those Routes whose
// virtual host, host or revision it mentions. Resources that belong to no object of the API belong to the gateway.
func (o *Output) Owners(typeURL, name string, role uint8, text string) []model.Ref {
	var refs []model.Ref
	switch typeURL {
	case ClusterType, AssignmentType:
		refs = o.memo.backendOwners(name)
	case ListenerType:
		refs = o.memo.hostOwner(strings.TrimSuffix(name, ":80"))
	case ScopedRouteType:
		refs = o.memo.scopeOwner(name)
	default:
		if role == RoleGateway {
			refs = o.memo.scopeOwner(name) // the routes of scopes have the name of a scope
		}
		if len(refs) == 0 {
			refs = o.memo.routeOwner(name)
		}
		if len(refs) == 0 && role == RoleGateway {
			refs = o.memo.mentioned(text)
		}
	}
	if len(refs) == 0 {
		return []model.Ref{{Kind: "Gateway", Key: model.Key{Name: name}}}
	}
	slices.SortFunc(refs, func(a, b model.Ref) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Key.Compare(b.Key)) })
	refs = slices.Compact(refs)
	return refs[:min(len(refs), mostOwners)]
}

// backendOwners are a revision and the Routes that name it.
func (m *memo) backendOwners(name string) (refs []model.Ref) {
	key := keyOf(name)
	i, found := slices.BinarySearchFunc(m.backends.in, key, compareBackend)
	if !found {
		return nil
	}
	if owner := m.backends.in[i].Owner; owner.Kind != "" {
		refs = append(refs, owner)
	}
	for _, e := range m.refs.of(name) {
		refs = append(refs, m.ownerOf(e.by.key)...)
	}
	return refs
}

// hostOwner is the Route that has a host.
func (m *memo) hostOwner(host string) []model.Ref {
	if claims := m.hosts.of(host); len(claims) > 0 {
		return m.ownerOf(claims[0].by.key)
	}
	return nil
}

// scopeOwner is the Route that has the host of a scope; see scopeName.
func (m *memo) scopeOwner(name string) []model.Ref {
	_, host, _ := strings.Cut(name, "/")
	return m.hostOwner(host)
}

// routeOwner is the Route of a virtual host, "namespace/route" or "namespace/route/tag".
func (m *memo) routeOwner(name string) []model.Ref {
	namespace, rest, _ := strings.Cut(name, "/")
	route, _, _ := strings.Cut(rest, "/")
	return m.ownerOf(model.Key{Namespace: namespace, Name: route})
}

func (m *memo) ownerOf(route model.Key) []model.Ref {
	if i, found := slices.BinarySearchFunc(m.routes.in, route, compareRoute); found {
		return []model.Ref{m.routes.in[i].Owner}
	}
	return nil
}

// mentioned are the Routes that a text mentions.
func (m *memo) mentioned(text string) (refs []model.Ref) {
	words := strings.FieldsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._/", r)
	})
	slices.Sort(words)
	for _, word := range slices.Compact(words) {
		word = strings.Trim(word, "./")
		refs = append(refs, m.hostOwner(word)...)
		if strings.Contains(word, "/") {
			refs = append(refs, m.routeOwner(word)...)
		}
		for _, e := range m.refs.of(word) {
			refs = append(refs, m.ownerOf(e.by.key)...)
		}
	}
	return refs
}

// keyOf reads "namespace/name".
func keyOf(s string) model.Key {
	namespace, name, _ := strings.Cut(s, "/")
	return model.Key{Namespace: namespace, Name: name}
}
