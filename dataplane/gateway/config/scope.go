package config

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// Scope is a compiled ScopedRouteConfiguration. It is immutable.
type Scope struct {
	Name, Version, Key string
	Body               []byte
	RDS                string  // the name of its route configuration; empty with Inline
	Inline             *Routes // the routes within the scope; nil with RDS
}

// compileScopeKey returns how many fragments the key of a request has. Each fragment must be the request's host in lower case, without
// the port.
func compileScopeKey(b *hcmv3.ScopedRoutes_ScopeKeyBuilder) (int, error) {
	for i, f := range b.GetFragments() {
		h := f.GetHeaderValueExtractor()
		if h.GetName() != ":authority" || h.GetElementSeparator() != ":" || h.GetIndex() != 0 || h.GetElement() != nil {
			return 0, atIndex("fragments", i,
				fmt.Errorf("anything but the first element of :authority, split at colons, is %w", errUnsupported))
		}
	}
	return len(b.GetFragments()), nil
}

// compileScoped fills in how the manager finds routes by scope.
func compileScoped(m *settings.Manager, from *hcmv3.ScopedRoutes) (err error) {
	if from.GetScopedRds() == nil {
		return at("scoped_route_configurations_list", errUnsupported)
	}
	if err := at("scoped_rds", at("scoped_rds_config_source", fromADS(from.GetScopedRds().GetScopedRdsConfigSource()))); err != nil {
		return err
	}
	m.Fragments, err = compileScopeKey(from.GetScopeKeyBuilder())
	return at("scope_key_builder", err)
}

// CompileScope compiles a scope, which names its routes or holds them.
func CompileScope(name, version string, body []byte) (*Scope, error) {
	m, err := decodeNamed(name, body, &routev3.ScopedRouteConfiguration{})
	if err != nil {
		return nil, err
	}
	var key []string
	for _, f := range m.GetKey().GetFragments() {
		key = append(key, f.GetStringKey())
	}
	s := &Scope{Name: name, Version: version, Key: strings.Join(key, "\n"), Body: body, RDS: m.GetRouteConfigurationName()}
	switch {
	case s.RDS != "" && m.GetRouteConfiguration() != nil:
		return nil, at("route_configuration", errors.New("is there beside route_configuration_name; want one of them"))
	case s.RDS != "":
		return s, nil
	case m.GetRouteConfiguration() == nil:
		return nil, at("route_configuration_name", errors.New("is missing"))
	}
	if body, err = proto.Marshal(m.GetRouteConfiguration()); err != nil {
		return nil, at("route_configuration", err)
	}
	s.Inline, err = CompileRoutes("", version, body, nil)
	return s, at("route_configuration", err)
}
