package proxy

import (
	"net"
	"net/http"
	"strings"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// admit checks a request against the limits of its connection manager and fills in the host and path that routes match. It returns a
// status with a reason for a request that it refuses, and 0 for the others.
func (m *Manager) admit(v *settings.Request) (int, string) {
	count := 0
	for _, values := range v.Header {
		count += len(values)
	}
	if count > m.MaxHeaders {
		return http.StatusRequestHeaderFieldsTooLarge, "too many headers"
	}
	m.stripHost(v.Request)
	v.Domain = strings.ToLower(v.Host)
	v.Path = pathOf(v.Request)
	if strings.Contains(v.RequestURI, "#") {
		return http.StatusBadRequest, "a fragment in the path"
	}
	if m.RejectEscapedSlashes && hasEscapedSlash(v.Path) {
		return http.StatusBadRequest, "escaped slashes in the path"
	}
	if m.Normalize && strings.Contains(v.Path, "/.") {
		v.Path = withoutDots(v.Path)
	}
	if m.MergeSlashes {
		for strings.Contains(v.Path, "//") {
			v.Path = strings.ReplaceAll(v.Path, "//", "/")
		}
	}
	return 0, ""
}

// pathOf is the path of a request as the client sent it.
func pathOf(r *http.Request) string {
	path := r.RequestURI
	if _, rest, ok := strings.Cut(path, "://"); ok && !strings.HasPrefix(path, "/") {
		i := strings.IndexAny(rest, "/?")
		if i < 0 || rest[i] == '?' {
			return "/"
		}
		path = rest[i:]
	}
	path, _, _ = strings.Cut(path, "?")
	return path
}

// stripHost takes the port and the trailing dot off a request's host, where the configuration says so.
func (m *Manager) stripHost(r *http.Request) {
	host := r.Host
	switch m.StripPort {
	case settings.StripAnyPort:
		host = withoutPort(host)
	case settings.StripMatchingPort:
		if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
			if _, port, err := net.SplitHostPort(host); err == nil && port == portOf(local) {
				host = withoutPort(host)
			}
		}
	}
	if m.StripDot {
		name := withoutPort(host)
		host = strings.TrimSuffix(name, ".") + host[len(name):]
	}
	r.Host = host
}

func portOf(a *net.TCPAddr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// withoutPort is a host without its port; an IPv6 address keeps its brackets.
func withoutPort(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host
	}
	if strings.IndexByte(host, ':') != i && host[0] != '[' {
		return host // an IPv6 address without brackets
	}
	return host[:i]
}

func hasEscapedSlash(path string) bool {
	for i := strings.IndexByte(path, '%'); i >= 0 && i+2 < len(path); {
		switch strings.ToLower(path[i+1 : i+3]) {
		case "2f", "5c":
			return true
		}
		next := strings.IndexByte(path[i+1:], '%')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}

// withoutDots removes "." and ".." segments as in RFC 3986, section 5.2.4.
func withoutDots(path string) string {
	var out []string
	segments := strings.Split(path, "/")[1:]
	for i, segment := range segments {
		last := i == len(segments)-1
		switch segment {
		case ".", "..":
			if segment == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}
