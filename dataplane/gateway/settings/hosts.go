package settings

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
)

const hostShards = 256

// shards maps names to virtual hosts and is immutable. A new version copies only the shards that change: with 10,000 virtual hosts, a
// changed one costs copies of some 200 entries instead of 50,000.
type shards struct {
	seed  maphash.Seed
	parts [hostShards]map[string]*VirtualHost
	// lengths counts names by their length; descending lists the lengths, longest first, which is how wildcards are tried.
	lengths    map[int]int
	descending []int
}

func (s *shards) shard(name string) int { return int(maphash.String(s.seed, name) % hostShards) }

func (s *shards) get(name string) *VirtualHost {
	if s == nil {
		return nil
	}
	return s.parts[s.shard(name)][name]
}

// HostTable finds the virtual host for a host name. It is immutable; HostEdit makes the next version. The zero value is empty.
type HostTable struct {
	exact  *shards
	suffix *shards // "*.example.com" under ".example.com"
	prefix *shards // "example.*" under "example."
	any    *VirtualHost
}

// Find looks in Envoy's order: exact, longest suffix wildcard, longest prefix wildcard, "*". The host is in lower case. It returns nil
// when there is none.
func (t *HostTable) Find(host string) *VirtualHost {
	if vh := t.exact.get(host); vh != nil {
		return vh
	}
	if t.suffix != nil {
		for _, n := range t.suffix.descending {
			// A wildcard stands for at least one character.
			if n < len(host) {
				if vh := t.suffix.get(host[len(host)-n:]); vh != nil {
					return vh
				}
			}
		}
	}
	if t.prefix != nil {
		for _, n := range t.prefix.descending {
			if n < len(host) {
				if vh := t.prefix.get(host[:n]); vh != nil {
					return vh
				}
			}
		}
	}
	return t.any
}

// HostEdit builds the next version of a HostTable. It copies each shard that it changes once.
type HostEdit struct {
	next                  HostTable
	exact, suffix, prefix shardEdit
}

// EditHosts begins the next version of a table.
func EditHosts(t *HostTable) *HostEdit {
	return &HostEdit{
		next:  *t,
		exact: shardEdit{from: t.exact}, suffix: shardEdit{from: t.suffix}, prefix: shardEdit{from: t.prefix},
	}
}

// kind is the table that a domain belongs to and its key there; nil stands for "*".
func (e *HostEdit) kind(domain string) (*shardEdit, string) {
	switch {
	case domain == "*":
		return nil, ""
	case strings.HasPrefix(domain, "*"):
		return &e.suffix, domain[1:]
	case strings.HasSuffix(domain, "*"):
		return &e.prefix, domain[:len(domain)-1]
	}
	return &e.exact, domain
}

// Set gives a domain to a virtual host, or returns the one that has it already.
func (e *HostEdit) Set(domain string, vh *VirtualHost) *VirtualHost {
	table, key := e.kind(domain)
	if table == nil {
		if e.next.any != nil {
			return e.next.any
		}
		e.next.any = vh
		return nil
	}
	return table.set(key, vh)
}

// Remove takes a domain from a virtual host, if that has it.
func (e *HostEdit) Remove(domain string, vh *VirtualHost) {
	if table, key := e.kind(domain); table != nil {
		table.remove(key, vh)
	} else if e.next.any == vh {
		e.next.any = nil
	}
}

// Done is the next version. Nothing may be edited afterwards.
func (e *HostEdit) Done() *HostTable {
	e.next.exact, e.next.suffix, e.next.prefix = e.exact.done(), e.suffix.done(), e.prefix.done()
	return &e.next
}

// shardEdit is the copy-on-write of one shards. It copies nothing before the first change.
type shardEdit struct {
	from, to *shards
	owned    [hostShards]bool
	resized  bool
}

func (e *shardEdit) open(name string) map[string]*VirtualHost {
	if e.to == nil {
		e.to = &shards{seed: maphash.MakeSeed()}
		if e.from != nil {
			*e.to = *e.from
		}
		e.to.lengths = maps.Clone(e.to.lengths)
		if e.to.lengths == nil {
			e.to.lengths = map[int]int{}
		}
	}
	i := e.to.shard(name)
	if !e.owned[i] {
		e.owned[i] = true
		e.to.parts[i] = maps.Clone(e.to.parts[i])
		if e.to.parts[i] == nil {
			e.to.parts[i] = map[string]*VirtualHost{}
		}
	}
	return e.to.parts[i]
}

func (e *shardEdit) set(name string, vh *VirtualHost) *VirtualHost {
	part := e.open(name)
	if other := part[name]; other != nil {
		return other
	}
	part[name] = vh
	e.count(len(name), 1)
	return nil
}

func (e *shardEdit) remove(name string, vh *VirtualHost) {
	part := e.open(name)
	if other, ok := part[name]; ok && other == vh {
		delete(part, name)
		e.count(len(name), -1)
	}
}

func (e *shardEdit) count(length, by int) {
	n := e.to.lengths[length] + by
	if e.resized = e.resized || n == 0 || n == by; n == 0 {
		delete(e.to.lengths, length)
		return
	}
	e.to.lengths[length] = n
}

func (e *shardEdit) done() *shards {
	if e.to == nil {
		return e.from
	}
	if e.resized {
		e.to.descending = slices.Sorted(maps.Keys(e.to.lengths))
		slices.Reverse(e.to.descending)
	}
	return e.to
}
