// Package allow decides by a list which identities may be clients of which role. It takes values and returns values: it must not
// know how an identity was proved, nor what a role gets.
package allow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/contract"
)

// Status is the role of those who read what clients have. Whoever may be a client may be that as well.
const Status = "status"

// roles are those that entries may name.
var roles = []string{contract.Gateway, contract.Activator, contract.Mesh, Status}

// List says who may have a role. An identity is a URI or a DNS name of a certificate.
type List struct{ entries []entry }

// entry allows an identity a role; with a node, only to the client that calls itself so.
type entry struct{ role, node, identity string }

// Parse reads entries of the form ROLE=IDENTITY or ROLE/NODE=IDENTITY.
//
// An identity is a URI, as spiffe://example.org/gateway, whose last path segment may be * for any one segment, or a DNS name,
// whose first label may be * for any one label.
func Parse(texts []string) (*List, error) {
	l := &List{}
	for _, text := range texts {
		role, identity, ok := strings.Cut(text, "=")
		role, node, bound := strings.Cut(role, "/")
		switch {
		case !ok:
			return nil, fmt.Errorf("%q is not of the form ROLE=IDENTITY, such as gateway=spiffe://example.org/gateway", text)
		case !slices.Contains(roles, role):
			return nil, fmt.Errorf("%q is of no role %q; there are %s", text, role, strings.Join(roles, ", "))
		case bound && (node == "" || role == Status):
			return nil, fmt.Errorf("%q: want a node id after the slash, and none for the role %s", text, Status)
		}
		if err := checkPattern(identity); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		l.entries = append(l.entries, entry{role, node, identity})
	}
	return l, nil
}

// checkPattern holds a * to where it means something.
func checkPattern(p string) error {
	fixed := p
	if isURI(p) {
		scheme, rest, _ := strings.Cut(p, "://")
		if scheme == "" || rest == "" {
			return fmt.Errorf("the URI %q is not complete", p)
		}
		// The segment must follow a host: no pattern is for all of a scheme.
		if prefix, ok := strings.CutSuffix(p, "/*"); ok && !strings.HasSuffix(prefix, "/") {
			fixed = prefix
		}
	} else {
		fixed = strings.TrimPrefix(p, "*.")
	}
	if fixed == "" || strings.Contains(fixed, "*") {
		return fmt.Errorf("the identity %q cannot be matched: * may be the whole last segment of a URI's path, or the whole first label of a DNS name", p)
	}
	return nil
}

func isURI(s string) bool { return strings.Contains(s, "://") }

// Check returns nil if one of the identities may be a client of the role that calls itself node, or else an error that says who
// asked for what and what would allow it.
func (l *List) Check(role, node string, identities []string) error {
	for _, e := range l.entries {
		if (e.role == role && (e.node == "" || e.node == node)) || role == Status {
			if slices.ContainsFunc(identities, e.matches) {
				return nil
			}
		}
	}
	return fmt.Errorf("this client may not have the role %q as node %s: its certificate is for %s, which no entry of --xds-allow gives that role; "+
		"use a certificate of a client that may, or add --xds-allow %s=IDENTITY", role, quoted(node), list(identities), role)
}

// matches is whether the entry means an identity. A certificate that is itself for a wildcard names nobody in particular.
func (e entry) matches(identity string) bool {
	if strings.Contains(identity, "*") || isURI(identity) != isURI(e.identity) {
		return false
	}
	if isURI(e.identity) {
		prefix, any := strings.CutSuffix(e.identity, "*")
		if !any {
			return identity == e.identity
		}
		segment, ok := strings.CutPrefix(identity, prefix)
		return ok && segment != "" && segment != "." && segment != ".." && !strings.ContainsAny(segment, "/?#")
	}
	pattern, name := strings.ToLower(e.identity), strings.ToLower(identity)
	suffix, any := strings.CutPrefix(pattern, "*")
	if !any {
		return name == pattern
	}
	label, ok := strings.CutSuffix(name, suffix)
	return ok && label != "" && !strings.Contains(label, ".")
}

// Bounds of what an error repeats of the client's words.
const (
	maxListed = 8   // identities
	maxText   = 128 // bytes of one
)

func list(identities []string) string {
	var shown []string
	for i, id := range identities {
		if i == maxListed {
			shown = append(shown, fmt.Sprintf("%d more", len(identities)-i))
			break
		}
		shown = append(shown, quoted(id))
	}
	return cmp.Or(strings.Join(shown, ", "), "nobody (it has neither URI nor DNS names), or there is none")
}

func quoted(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
