package settings

import (
	"net/http"
	"strings"
)

// Request is what a route matches.
type Request struct {
	*http.Request
	Domain string // the host, in lower case as the domains of virtual hosts are
	Path   string // the path as the client escaped it, normalized, without the query
}

// header is a header's values joined by commas, as Envoy matches them, and whether there is one.
func (v *Request) header(name string) (string, bool) {
	switch name {
	case ":method":
		return v.Method, true
	case ":authority", "Host":
		return v.Domain, true
	case ":path":
		return v.RequestURI, true
	case ":scheme":
		return Scheme(v.Request), true
	}
	return joined(v.Header[name])
}

func joined(values []string) (string, bool) {
	switch len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], true
	}
	return strings.Join(values, ","), true
}

// Scheme is that of the client's connection.
func Scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// StringMatch is a compiled test of a string.
type StringMatch func(string) bool

// PathMatch is a test of a request's path.
type PathMatch struct {
	Matches StringMatch
	Length  int // how many bytes of the path a rewrite of the prefix replaces; -1 is all of it
}

// HeaderMatch is a test of one header.
type HeaderMatch struct {
	Name           string // in canonical form, or a pseudo header such as :path
	Matches        StringMatch
	Present        bool // the test is on presence alone
	Invert         bool
	MissingIsEmpty bool // a header that is missing is tested as an empty one
}

func (m *HeaderMatch) match(v *Request) bool { return m.test(v.header(m.Name)) }

// MatchResponse tests the headers of a response.
func (m *HeaderMatch) MatchResponse(h http.Header) bool { return m.test(joined(h[m.Name])) }

func (m *HeaderMatch) test(value string, exists bool) bool {
	if m.Present {
		return exists != m.Invert
	}
	if !exists && !m.MissingIsEmpty {
		return false // as in Envoy, inverted or not
	}
	return m.Matches(value) != m.Invert
}

// IsGRPC is whether a request is a gRPC call.
func IsGRPC(r *http.Request) bool {
	values := r.Header["Content-Type"]
	if len(values) == 0 {
		return false
	}
	rest, ok := strings.CutPrefix(values[0], "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}
