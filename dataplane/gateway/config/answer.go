package config

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

func compileDirect(m *routev3.DirectResponseAction) (*settings.DirectResponse, error) {
	body, err := inline(m.GetBody())
	return &settings.DirectResponse{Status: int(m.GetStatus()), Body: body}, at("body", err)
}

// inline is the content of a data source that is within the message. A control plane may not read files and environment variables of the
// gateway's machine.
func inline(s *corev3.DataSource) ([]byte, error) {
	switch v := s.GetSpecifier().(type) {
	case nil:
		return nil, nil
	case *corev3.DataSource_InlineBytes:
		return v.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(v.InlineString), nil
	default:
		return nil, fmt.Errorf("must be inline: %w", errUnsupported)
	}
}

func compileRedirect(m *routev3.RedirectAction) (*settings.Redirect, error) {
	status, ok := map[routev3.RedirectAction_RedirectResponseCode]int{
		routev3.RedirectAction_MOVED_PERMANENTLY:  301,
		routev3.RedirectAction_FOUND:              302,
		routev3.RedirectAction_SEE_OTHER:          303,
		routev3.RedirectAction_TEMPORARY_REDIRECT: 307,
		routev3.RedirectAction_PERMANENT_REDIRECT: 308,
	}[m.GetResponseCode()]
	if !ok {
		return nil, at("response_code", errUnsupported)
	}
	r := &settings.Redirect{
		Status: status, Scheme: m.GetSchemeRedirect(), Host: m.GetHostRedirect(), Port: m.GetPortRedirect(),
		Path: m.GetPathRedirect(), PrefixRewrite: m.GetPrefixRewrite(), StripQuery: m.GetStripQuery(),
	}
	if m.GetHttpsRedirect() {
		r.Scheme = "https"
	}
	return r, nil
}
