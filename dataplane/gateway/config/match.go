package config

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// anchored compiles an expression that must match the whole string.
func anchored(m *matcherv3.RegexMatcher) (settings.StringMatch, error) {
	re, err := regexp.Compile("^(?:" + m.GetRegex() + ")$")
	if err != nil {
		return nil, at("regex", err)
	}
	return re.MatchString, nil
}

func exactly(want string, fold bool) settings.StringMatch {
	if fold {
		return func(s string) bool { return strings.EqualFold(s, want) }
	}
	return func(s string) bool { return s == want }
}

func startsWith(prefix string, fold bool) settings.StringMatch {
	if fold {
		return func(s string) bool { return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) }
	}
	return func(s string) bool { return strings.HasPrefix(s, prefix) }
}

func endsWith(suffix string, fold bool) settings.StringMatch {
	if fold {
		return func(s string) bool { return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix) }
	}
	return func(s string) bool { return strings.HasSuffix(s, suffix) }
}

func contains(part string, fold bool) settings.StringMatch {
	if fold {
		part = strings.ToLower(part)
		return func(s string) bool { return strings.Contains(strings.ToLower(s), part) }
	}
	return func(s string) bool { return strings.Contains(s, part) }
}

// compilePath compiles the test of a path.
func compilePath(m *routev3.RouteMatch) (settings.PathMatch, error) {
	fold := m.GetCaseSensitive() != nil && !m.GetCaseSensitive().GetValue()
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		return settings.PathMatch{Matches: startsWith(p.Prefix, fold), Length: len(p.Prefix)}, nil
	case *routev3.RouteMatch_Path:
		return settings.PathMatch{Matches: exactly(p.Path, fold), Length: len(p.Path)}, nil
	case *routev3.RouteMatch_PathSeparatedPrefix:
		prefix := startsWith(p.PathSeparatedPrefix, fold)
		n := len(p.PathSeparatedPrefix)
		return settings.PathMatch{Matches: func(s string) bool { return prefix(s) && (len(s) == n || s[n] == '/') }, Length: n}, nil
	case *routev3.RouteMatch_SafeRegex:
		matches, err := anchored(p.SafeRegex)
		return settings.PathMatch{Matches: matches, Length: -1}, at("safe_regex", err)
	}
	return settings.PathMatch{}, errors.New("has no path, prefix, path_separated_prefix or safe_regex")
}

// compileHeaderMatch compiles the test of a header.
//
//nolint:staticcheck // the deprecated kinds of matches are still the API's
func compileHeaderMatch(m *routev3.HeaderMatcher) (settings.HeaderMatch, error) {
	out := settings.HeaderMatch{Name: m.GetName(), Invert: m.GetInvertMatch(), MissingIsEmpty: m.GetTreatMissingHeaderAsEmpty()}
	if !strings.HasPrefix(out.Name, ":") {
		out.Name = textproto.CanonicalMIMEHeaderKey(out.Name)
	}
	var err error
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		out.Present = true
	case *routev3.HeaderMatcher_PresentMatch:
		out.Present = true
		out.Invert = out.Invert == s.PresentMatch // present_match: false asks for absence
	case *routev3.HeaderMatcher_ExactMatch:
		out.Matches = exactly(s.ExactMatch, false)
	case *routev3.HeaderMatcher_PrefixMatch:
		out.Matches = startsWith(s.PrefixMatch, false)
	case *routev3.HeaderMatcher_SuffixMatch:
		out.Matches = endsWith(s.SuffixMatch, false)
	case *routev3.HeaderMatcher_ContainsMatch:
		out.Matches = contains(s.ContainsMatch, false)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		out.Matches, err = anchored(s.SafeRegexMatch)
	case *routev3.HeaderMatcher_StringMatch:
		out.Matches, err = compileString(s.StringMatch)
	default:
		err = fmt.Errorf("%T is %w", s, errUnsupported)
	}
	return out, err
}

func compileString(m *matcherv3.StringMatcher) (settings.StringMatch, error) {
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
