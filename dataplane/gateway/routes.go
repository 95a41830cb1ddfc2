package gateway

import (
	"bytes"
	"fmt"
	"hash/maphash"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

// routeTable is a compiled RouteConfiguration. It is immutable and shares the virtual hosts that did not change with the
// version before it.
type routeTable struct {
	name    string
	version string
	// body is the message that it was made from, and parts are the virtual hosts' bytes within it, in order. All of them
	// point into the newest message, so that no older one is kept in memory by a virtual host that never changes.
	body  []byte
	parts []routePart
	hosts *hostTable
	// rest is the message without its virtual hosts.
	rest []byte
	*routeSettings
}

type routePart struct {
	raw []byte
	vh  *virtualHost
}

// routeSettings are what a RouteConfiguration says beside its virtual hosts.
type routeSettings struct {
	requestHeaders, responseHeaders *headerChanges
	// mostSpecificWins turns the order of header changes round: route configuration first, weighted cluster last.
	mostSpecificWins bool
	// ignorePort leaves a port out when looking for the virtual host.
	ignorePort bool
}

// compileRoutes makes the table of a RouteConfiguration. prev is the version before it or nil: virtual hosts whose bytes
// are the same are taken from there, so one changed virtual host of 10,000 costs one compilation and a pass over the bytes.
func compileRoutes(name, version string, body []byte, prev *routeTable) (*routeTable, error) {
	parts, rest, err := splitRoutes(body)
	if err != nil {
		return nil, err
	}
	if prev == nil {
		prev = &routeTable{hosts: &hostTable{}}
	}
	t := &routeTable{name: name, version: version, body: body, parts: parts, rest: rest, routeSettings: prev.routeSettings}
	if t.routeSettings == nil || !bytes.Equal(rest, prev.rest) {
		if t.routeSettings, err = compileSettings(name, rest); err != nil {
			return nil, err
		}
	}
	t.hosts, err = reuse(parts, prev)
	return t, err
}

// splitRoutes walks the message without unmarshalling it.
func splitRoutes(body []byte) (parts []routePart, rest []byte, err error) {
	for b := body; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, nil, fmt.Errorf("not a RouteConfiguration: %w", protowire.ParseError(n))
		}
		m := protowire.ConsumeFieldValue(number, kind, b[n:])
		if m < 0 {
			return nil, nil, fmt.Errorf("not a RouteConfiguration: %w", protowire.ParseError(m))
		}
		if number == virtualHostsField && kind == protowire.BytesType {
			raw, _ := protowire.ConsumeBytes(b[n:])
			parts = append(parts, routePart{raw: raw})
		} else {
			rest = append(rest, b[:n+m]...)
		}
		b = b[n+m:]
	}
	return parts, rest, nil
}

func compileSettings(name string, rest []byte) (*routeSettings, error) {
	m, err := decode(rest, &routev3.RouteConfiguration{})
	if err != nil {
		return nil, err
	}
	if name != "" && m.GetName() != name {
		return nil, fmt.Errorf("name: is %q; it must be the name of the resource, %q", m.GetName(), name)
	}
	s := &routeSettings{
		mostSpecificWins: m.GetMostSpecificHeaderMutationsWins(),
		ignorePort:       m.GetIgnorePortInHostMatching(),
	}
	s.requestHeaders, s.responseHeaders, err = compileBothHeaders(m)
	return s, err
}

// reuse fills in the virtual hosts of parts, from prev where the bytes are the same, and makes the table of hosts. It first
// strips what is the same at the beginning and at the end, which leaves a window of what was changed, added or removed.
func reuse(parts []routePart, prev *routeTable) (*hostTable, error) {
	old, head := prev.parts, 0
	for head < len(old) && head < len(parts) && bytes.Equal(old[head].raw, parts[head].raw) {
		parts[head].vh = old[head].vh
		head++
	}
	oldEnd, end := len(old), len(parts)
	for oldEnd > head && end > head && bytes.Equal(old[oldEnd-1].raw, parts[end-1].raw) {
		oldEnd, end = oldEnd-1, end-1
		parts[end].vh = old[oldEnd].vh
	}
	if oldEnd == head && end == head {
		return prev.hosts, nil
	}
	return window(parts[head:end], old[head:oldEnd], prev.hosts)
}

// window matches what lies between by content and compiles the rest.
func window(parts, old []routePart, hosts *hostTable) (*hostTable, error) {
	seed := maphash.MakeSeed()
	byContent := make(map[uint64]int, len(old))
	for i := range old {
		byContent[maphash.Bytes(seed, old[i].raw)] = i
	}
	kept := make([]bool, len(old))
	for i := range parts {
		j, ok := byContent[maphash.Bytes(seed, parts[i].raw)]
		if ok && !kept[j] && bytes.Equal(old[j].raw, parts[i].raw) {
			parts[i].vh, kept[j] = old[j].vh, true
		}
	}
	edit := editHosts(hosts)
	for i := range old {
		if !kept[i] {
			for _, domain := range old[i].vh.domains {
				edit.remove(domain)
			}
		}
	}
	for i := range parts {
		if parts[i].vh != nil {
			continue
		}
		var err error
		if parts[i].vh, err = compileVirtualHost(parts[i].raw); err != nil {
			return nil, err
		}
		for _, domain := range parts[i].vh.domains {
			if other := edit.set(domain, parts[i].vh); other != nil {
				return nil, fmt.Errorf("virtual host %q: domain %q belongs to virtual host %q already; each domain may be used once",
					parts[i].vh.name, domain, other.name)
			}
		}
	}
	return edit.done(), nil
}

// message rebuilds the proto, for those who want to see it.
func (t *routeTable) message() (*routev3.RouteConfiguration, error) {
	m := &routev3.RouteConfiguration{}
	return m, proto.Unmarshal(t.body, m)
}
