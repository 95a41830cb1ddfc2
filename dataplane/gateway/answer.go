package gateway

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// directResponse is an answer that the gateway gives itself.
type directResponse struct {
	status int
	body   []byte
}

func compileDirect(m *routev3.DirectResponseAction) (*directResponse, error) {
	body, err := inline(m.GetBody())
	return &directResponse{status: int(m.GetStatus()), body: body}, at("body", err)
}

// inline gives the content of a data source that is within the message. Files and environment variables of the gateway's
// machine are not for a control plane to read.
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

// redirect sends the client elsewhere.
type redirect struct {
	status              int
	scheme, host        string
	port                uint32
	path, prefixRewrite string
	stripQuery          bool
}

func compileRedirect(m *routev3.RedirectAction) (*redirect, error) {
	status, ok := map[routev3.RedirectAction_RedirectResponseCode]int{
		routev3.RedirectAction_MOVED_PERMANENTLY:  http.StatusMovedPermanently,
		routev3.RedirectAction_FOUND:              http.StatusFound,
		routev3.RedirectAction_SEE_OTHER:          http.StatusSeeOther,
		routev3.RedirectAction_TEMPORARY_REDIRECT: http.StatusTemporaryRedirect,
		routev3.RedirectAction_PERMANENT_REDIRECT: http.StatusPermanentRedirect,
	}[m.GetResponseCode()]
	if !ok {
		return nil, at("response_code", errUnsupported)
	}
	r := &redirect{
		status: status, scheme: m.GetSchemeRedirect(), host: m.GetHostRedirect(), port: m.GetPortRedirect(),
		path: m.GetPathRedirect(), prefixRewrite: m.GetPrefixRewrite(), stripQuery: m.GetStripQuery(),
	}
	if m.GetHttpsRedirect() {
		r.scheme = "https"
	}
	return r, nil
}

// location is where a request is sent: what the redirect does not replace stays as the client sent it.
func (r *redirect) location(v *requestView, matched int) string {
	from := scheme(v.Request)
	to := r.scheme
	if to == "" {
		to = from
	}
	host := r.host
	if host == "" {
		host = v.host
		if to != from {
			host = withoutDefaultPort(host, from)
		}
	}
	if r.port != 0 {
		host = net.JoinHostPort(hostname(host), strconv.FormatUint(uint64(r.port), 10))
	}
	path, query := v.path, v.URL.RawQuery
	switch {
	case r.path != "":
		path = r.path
		if strings.Contains(path, "?") {
			query = ""
		}
	case r.prefixRewrite != "":
		path = rewritten(path, matched, r.prefixRewrite)
	}
	if query != "" && !r.stripQuery {
		path += "?" + query
	}
	return to + "://" + host + path
}

// rewritten replaces the part of a path that a route matched.
func rewritten(path string, matched int, by string) string {
	if matched < 0 || matched > len(path) {
		matched = len(path)
	}
	return by + path[matched:]
}

// hostname is a host without its port, and without the brackets of an IPv6 address.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// withoutDefaultPort drops the port that belongs to the old scheme: it would be wrong for the new one.
func withoutDefaultPort(host, scheme string) string {
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}
