package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// requestView is what a route may match on.
type requestView struct {
	*http.Request
	// host is the lower-case host; path is the path as it was sent, without query.
	host, path string
}

// header gives a header's values joined by commas, as Envoy matches them, and whether there is one.
func (v *requestView) header(name string) (string, bool) {
	switch name {
	case ":method":
		return v.Method, true
	case ":authority", "Host":
		return v.host, true
	case ":path":
		return v.RequestURI, true
	case ":scheme":
		return scheme(v.Request), true
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

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// stringMatch is a compiled test of a string.
type stringMatch func(string) bool

// pathMatch and headerMatch are the two halves of a route's condition.
type pathMatch struct {
	matches stringMatch
	// length is how much of the path prefix_rewrite replaces; -1 means all of it.
	length int
}

type headerMatch struct {
	name           string
	matches        stringMatch
	present        bool // the test is on presence alone
	invert         bool
	missingIsEmpty bool
}

func (m *headerMatch) match(v *requestView) bool { return m.test(v.header(m.name)) }

// matchResponse is the same for the headers of a response.
func (m *headerMatch) matchResponse(h http.Header) bool { return m.test(joined(h[m.name])) }

func (m *headerMatch) test(value string, exists bool) bool {
	if m.present {
		return exists != m.invert
	}
	if !exists && !m.missingIsEmpty {
		// Envoy: a header that is missing matches no test of its value, inverted or not, unless it counts as empty.
		return false
	}
	return m.matches(value) != m.invert
}

// anchored compiles an expression that has to match the whole string.
func anchored(m *matcherv3.RegexMatcher) (stringMatch, error) {
	re, err := regexp.Compile("^(?:" + m.GetRegex() + ")$")
	if err != nil {
		return nil, at("regex", err)
	}
	return re.MatchString, nil
}

func exactly(want string, fold bool) stringMatch {
	if fold {
		return func(s string) bool { return strings.EqualFold(s, want) }
	}
	return func(s string) bool { return s == want }
}

func startsWith(prefix string, fold bool) stringMatch {
	if fold {
		return func(s string) bool { return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) }
	}
	return func(s string) bool { return strings.HasPrefix(s, prefix) }
}

func endsWith(suffix string, fold bool) stringMatch {
	if fold {
		return func(s string) bool { return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix) }
	}
	return func(s string) bool { return strings.HasSuffix(s, suffix) }
}

func contains(part string, fold bool) stringMatch {
	if fold {
		part = strings.ToLower(part)
		return func(s string) bool { return strings.Contains(strings.ToLower(s), part) }
	}
	return func(s string) bool { return strings.Contains(s, part) }
}

// compilePath makes the path half of a match.
func compilePath(m *routev3.RouteMatch) (pathMatch, error) {
	fold := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return pathMatch{matches: startsWith(p.Prefix, fold), length: len(p.Prefix)}, nil
	case *routev3.RouteMatch_Path:
		return pathMatch{matches: exactly(p.Path, fold), length: len(p.Path)}, nil
	case *routev3.RouteMatch_PathSeparatedPrefix:
		prefix := startsWith(p.PathSeparatedPrefix, fold)
		n := len(p.PathSeparatedPrefix)
		return pathMatch{matches: func(s string) bool { return prefix(s) && (len(s) == n || s[n] == '/') }, length: n}, nil
	case *routev3.RouteMatch_SafeRegex:
		matches, err := anchored(p.SafeRegex)
		return pathMatch{matches: matches, length: -1}, at("safe_regex", err)
	}
	return pathMatch{}, errors.New("has no path, prefix, path_separated_prefix or safe_regex")
}

// compileHeaderMatch makes one test of a header.
//
//nolint:staticcheck // the deprecated kinds of matches are still the API's
func compileHeaderMatch(m *routev3.HeaderMatcher) (headerMatch, error) {
	out := headerMatch{name: m.GetName(), invert: m.GetInvertMatch(), missingIsEmpty: m.GetTreatMissingHeaderAsEmpty()}
	if !strings.HasPrefix(out.name, ":") {
		out.name = textproto.CanonicalMIMEHeaderKey(out.name)
	}
	var err error
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		out.present = true
	case *routev3.HeaderMatcher_PresentMatch:
		out.present = true
		out.invert = out.invert == s.PresentMatch // present_match: false asks for absence
	case *routev3.HeaderMatcher_ExactMatch:
		out.matches = exactly(s.ExactMatch, false)
	case *routev3.HeaderMatcher_PrefixMatch:
		out.matches = startsWith(s.PrefixMatch, false)
	case *routev3.HeaderMatcher_SuffixMatch:
		out.matches = endsWith(s.SuffixMatch, false)
	case *routev3.HeaderMatcher_ContainsMatch:
		out.matches = contains(s.ContainsMatch, false)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		out.matches, err = anchored(s.SafeRegexMatch)
	case *routev3.HeaderMatcher_StringMatch:
		out.matches, err = compileString(s.StringMatch)
	default:
		err = fmt.Errorf("%T is %w", s, errUnsupported)
	}
	return out, err
}

func compileString(m *matcherv3.StringMatcher) (stringMatch, error) {
	fold := m.GetIgnoreCase()
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return exactly(p.Exact, fold), nil
	case *matcherv3.StringMatcher_Prefix:
		return startsWith(p.Prefix, fold), nil
	case *matcherv3.StringMatcher_Suffix:
		return endsWith(p.Suffix, fold), nil
	case *matcherv3.StringMatcher_Contains:
		return contains(p.Contains, fold), nil
	case *matcherv3.StringMatcher_SafeRegex:
		matches, err := anchored(p.SafeRegex)
		return matches, at("safe_regex", err)
	}
	return nil, fmt.Errorf("string_match without a pattern is %w", errUnsupported)
}
