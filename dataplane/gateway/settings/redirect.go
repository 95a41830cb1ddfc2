package settings

import (
	"net"
	"strconv"
	"strings"
)

// DirectResponse is a response of the gateway's own.
type DirectResponse struct {
	Status int
	Body   []byte
}

// Redirect sends the client to another URL. What is empty or 0 stays as the client sent it.
type Redirect struct {
	Status              int
	Scheme, Host        string
	Port                uint32
	Path, PrefixRewrite string
	StripQuery          bool
}

// Location is the URL that a request is redirected to. matched is PathMatch.Length of its route.
func (r *Redirect) Location(v *Request, matched int) string {
	from := Scheme(v.Request)
	to := r.Scheme
	if to == "" {
		to = from
	}
	host := r.Host
	if host == "" {
		host = v.Domain
		if to != from {
			host = withoutDefaultPort(host, from)
		}
	}
	if r.Port != 0 {
		host = net.JoinHostPort(Hostname(host), strconv.FormatUint(uint64(r.Port), 10))
	}
	path, query := v.Path, v.URL.RawQuery
	switch {
	case r.Path != "":
		path = r.Path
		if strings.Contains(path, "?") {
			query = ""
		}
	case r.PrefixRewrite != "":
		path = Rewritten(path, matched, r.PrefixRewrite)
	}
	if query != "" && !r.StripQuery {
		path += "?" + query
	}
	return to + "://" + host + path
}

// Rewritten replaces the part of a path that a route matched; matched is PathMatch.Length.
func Rewritten(path string, matched int, by string) string {
	if matched < 0 || matched > len(path) {
		matched = len(path)
	}
	return by + path[matched:]
}

// Hostname is a host without its port, and without the brackets of an IPv6 address.
func Hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// withoutDefaultPort drops the default port of the old scheme: it would be wrong for the new one.
func withoutDefaultPort(host, scheme string) string {
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}
