package config

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

// Routes is a compiled RouteConfiguration. It is immutable, and shares with the version before it the virtual hosts that did not change.
type Routes struct {
	Version string
	// Body is the message, and parts are the bytes of its virtual hosts, in order. All of them point into the newest message, so
	// that a virtual host that never changes keeps no older message in memory.
	Body  []byte
	parts []routePart
	rest  []byte // the message without its virtual hosts
	settings.RouteTable
}

type routePart struct {
	raw []byte
	vh  *settings.VirtualHost
}

// CompileRoutes compiles a RouteConfiguration. prev is the version before it, or nil: virtual hosts with the same bytes are taken from
// there, so one changed virtual host of 10,000 costs one compilation and a pass over the bytes.
func CompileRoutes(name, version string, body []byte, prev *Routes) (*Routes, error) {
	if prev == nil {
		prev = &Routes{RouteTable: settings.RouteTable{Hosts: &settings.HostTable{}}}
	}
	parts, rest, err := splitRoutes(body, len(prev.parts)+1)
	if err != nil {
		return nil, err
	}
	t := &Routes{Version: version, Body: body, parts: parts, rest: rest}
	t.RouteSettings = prev.RouteSettings
	if t.RouteSettings == nil || !bytes.Equal(rest, prev.rest) {
		if t.RouteSettings, err = compileSettings(name, rest); err != nil {
			return nil, err
		}
	}
	t.Hosts, err = reuse(parts, prev)
	return t, err
}

// splitRoutes walks the message without unmarshalling it. expected is how many virtual hosts it makes room for.
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

func compileSettings(name string, rest []byte) (*settings.RouteSettings, error) {
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
	s := &settings.RouteSettings{
		MostSpecificWins: m.GetMostSpecificHeaderMutationsWins(),
		IgnorePort:       m.GetIgnorePortInHostMatching(),
	}
	s.Changes, err = compileChanges(m)
	return s, err
}

// checkFilterConfigs accepts configurations that turn a filter off or are optional: the only filter here is the router.
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

// reuse fills in the virtual hosts of parts, from prev where the bytes are the same, and makes the table of hosts. It first skips the
// parts that are the same at the beginning and at the end, which leaves a window with those that were changed, added or removed.
func reuse(parts []routePart, prev *Routes) (*settings.HostTable, error) {
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
		return prev.Hosts, nil
	}
	return window(parts[head:end], old[head:oldEnd], prev.Hosts)
}

// window matches the parts of a window by content and compiles the others.
func window(parts, old []routePart, hosts *settings.HostTable) (*settings.HostTable, error) {
	edit := settings.EditHosts(hosts)
	for _, gone := range match(parts, old) {
		for _, domain := range gone.Domains {
			edit.Remove(domain, gone)
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
		for _, domain := range vh.Domains {
			if other := edit.Set(domain, vh); other != nil {
				return nil, fmt.Errorf("virtual host %q: domain %q belongs to virtual host %q already; each domain may be used once",
					vh.Name, domain, other.Name)
			}
		}
	}
	return edit.Done(), nil
}

// match fills in the virtual hosts of parts from old where the bytes are the same, and returns the virtual hosts that no part has.
func match(parts, old []routePart) (gone []*settings.VirtualHost) {
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
