package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

// routeTable is the routes of a RouteConfiguration. It is immutable.
type routeTable struct {
	hosts *hostTable
	*routeSettings
}

// routeConfig is a compiled RouteConfiguration. It is immutable and shares with the version before it the virtual hosts that did
// not change.
type routeConfig struct {
	version string
	// body is the message, and parts are the bytes of its virtual hosts, in order. All of them point into the newest message, so
	// that a virtual host that never changes keeps no older message in memory.
	body  []byte
	parts []routePart
	rest  []byte // the message without its virtual hosts
	routeTable
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
func compileRoutes(name, version string, body []byte, prev *routeConfig) (*routeConfig, error) {
	if prev == nil {
		prev = &routeConfig{routeTable: routeTable{hosts: &hostTable{}}}
	}
	parts, rest, err := splitRoutes(body, len(prev.parts)+1)
	if err != nil {
		return nil, err
	}
	t := &routeConfig{version: version, body: body, parts: parts, rest: rest}
	t.routeSettings = prev.routeSettings
	if t.routeSettings == nil || !bytes.Equal(rest, prev.rest) {
		if t.routeSettings, err = compileSettings(name, rest); err != nil {
			return nil, err
		}
	}
	t.hosts, err = reuse(parts, prev)
	return t, err
}

// splitRoutes walks the message without unmarshalling it. It likely finds as many virtual hosts as expected.
func splitRoutes(body []byte, expected int) (parts []routePart, rest []byte, err error) {
	parts = make([]routePart, 0, expected)
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
	if err := checkFilterConfigs(m.GetTypedPerFilterConfig()); err != nil {
		return nil, at("typed_per_filter_config", err)
	}
	s := &routeSettings{
		mostSpecificWins: m.GetMostSpecificHeaderMutationsWins(),
		ignorePort:       m.GetIgnorePortInHostMatching(),
	}
	s.requestHeaders, s.responseHeaders, err = compileBothHeaders(m)
	return s, err
}

// checkFilterConfigs takes what turns filters off, or may be left out: the only filter here is the router.
func checkFilterConfigs(all map[string]*anypb.Any) error {
	for name, config := range all {
		m, err := unpack(config, &routev3.FilterConfig{})
		if err == nil && !m.GetDisabled() && !m.GetIsOptional() {
			err = errors.New("does neither turn the filter off nor say that it is optional")
		}
		if err != nil {
			return at(name, err)
		}
	}
	return nil
}

// reuse fills in the virtual hosts of parts, from prev where the bytes are the same, and makes the table of hosts. It first
// strips what is the same at the beginning and at the end, which leaves a window of what was changed, added or removed.
func reuse(parts []routePart, prev *routeConfig) (*hostTable, error) {
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
	edit := editHosts(hosts)
	for _, gone := range match(parts, old) {
		for _, domain := range gone.domains {
			edit.remove(domain, gone)
		}
	}
	for i := range parts {
		if parts[i].vh != nil {
			continue
		}
		vh, err := compileVirtualHost(parts[i].raw)
		if err != nil {
			return nil, err
		}
		parts[i].vh = vh
		for _, domain := range vh.domains {
			if other := edit.set(domain, vh); other != nil {
				return nil, fmt.Errorf("virtual host %q: domain %q belongs to virtual host %q already; each domain may be used once",
					vh.name, domain, other.name)
			}
		}
	}
	return edit.done(), nil
}

// match gives parts the virtual hosts of old that have the same bytes, and returns those that no part has.
func match(parts, old []routePart) (gone []*virtualHost) {
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
	for i := range old {
		if !kept[i] {
			gone = append(gone, old[i].vh)
		}
	}
	return gone
}
