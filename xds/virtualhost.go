package xds

import (
	"net"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of envoy.config.route.v3: RouteConfiguration.virtual_hosts and .vhds, VirtualHost.domains.
const (
	virtualHostsField = 2
	vhdsField         = 9
	domainsField      = 2
)

// routeNeeds is the route configuration's own name where its virtual hosts are resources of their own (VHDS): whoever has it
// will ask for those. One that has virtual hosts within is not read further: it may be megabytes, and it serves without.
func routeNeeds(r *Resource) (names []string) {
	eachField(r.Body, func(number protowire.Number, _ []byte) bool {
		if number == vhdsField {
			names = []string{r.Name}
		}
		return number != vhdsField && number != virtualHostsField
	})
	return names
}

// aliasesOf is the names by which a virtual host is asked for on demand: Envoy knows the route configuration and the host of a
// request, and asks for "<route configuration>/<host>".
func aliasesOf(r *Resource) (names []string) {
	slash := strings.LastIndexByte(r.Name, '/')
	if r.Type != VirtualHostType || slash < 0 {
		return nil
	}
	eachField(r.Body, func(number protowire.Number, value []byte) bool {
		if number == domainsField {
			names = append(names, r.Name[:slash+1]+string(value))
		}
		return true
	})
	return names
}

// eachField yields the length-delimited fields of a message until yield returns false or the message makes no sense.
func eachField(body []byte, yield func(protowire.Number, []byte) bool) {
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return
		}
		size := protowire.ConsumeFieldValue(number, kind, body[n:])
		if size < 0 {
			return
		}
		if kind == protowire.BytesType {
			if value, _ := protowire.ConsumeBytes(body[n:]); !yield(number, value) {
				return
			}
		}
		body = body[n+size:]
	}
}

// put offers an entry in place of what was offered by its name.
func (t *table) put(e *entry) {
	t.unalias(t.entries[e.Name])
	t.entries[e.Name] = e
	if len(e.aliases) > 0 && t.aliases == nil {
		t.aliases = map[string]*entry{}
	}
	for _, alias := range e.aliases {
		t.aliases[alias] = e
	}
}

// take offers nothing by a name any more.
func (t *table) take(name string) {
	t.unalias(t.entries[name])
	delete(t.entries, name)
}

// unalias has no other name lead to an entry, which may be nil.
func (t *table) unalias(e *entry) {
	if e == nil {
		return
	}
	for _, alias := range e.aliases {
		if t.aliases[alias] == e {
			delete(t.aliases, alias)
		}
	}
}

// onDemand is the entry that is asked for by the host of a request, with or without a port.
func (t *table) onDemand(name string) *entry {
	if len(t.aliases) == 0 || t.entries[name] != nil {
		return nil
	}
	if e := t.aliases[name]; e != nil {
		return e
	}
	host, _, err := net.SplitHostPort(name)
	if err != nil {
		return nil
	}
	return t.aliases[host]
}
