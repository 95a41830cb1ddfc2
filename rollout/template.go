package rollout

import (
	"fmt"
	"net/url"
	"strings"
	"text/template"
)

// The templates of host names that Knative has as defaults.
const (
	DefaultDomainTemplate = "{{.Name}}.{{.Namespace}}.{{.Domain}}"
	DefaultTagTemplate    = "{{.Tag}}-{{.Name}}"
)

// DomainTemplate writes the external host of a Route or of one of its tags. It is a Go template with Knative's fields: Name (of the Route,
// or what the TagTemplate made of it), Namespace, Domain, Annotations and Labels.
type DomainTemplate struct {
	text   string
	parsed *template.Template
}

// Equal says whether two templates have the same text.
func (t *DomainTemplate) Equal(o *DomainTemplate) bool {
	return t == o || t != nil && o != nil && t.text == o.text
}

// domainValues are the fields of a DomainTemplate; templates name them.
type domainValues struct {
	Name, Namespace, Domain string
	Annotations, Labels     map[string]string
}

// ParseDomainTemplate checks a template and compiles it. Like Knative it wants a template that makes a host without port and path out of an
// object without labels and annotations.
func ParseDomainTemplate(text string) (*DomainTemplate, error) {
	parsed, err := template.New("domain-template").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	t := &DomainTemplate{text, parsed}
	host, err := t.host(domainValues{Name: "foo", Namespace: "bar", Domain: "baz.com"})
	if err != nil {
		return nil, err
	}
	// Labels and annotations may be all that makes it a valid name, so it is checked for each Route.
	if u, err := url.Parse("https://" + host); err != nil || u.Hostname() == "" || u.RequestURI() != "/" {
		return nil, fmt.Errorf("it makes %q of the Route foo in the namespace bar with the domain baz.com, want a host name", host)
	}
	return t, nil
}

// host executes the template; nil is the default one.
func (t *DomainTemplate) host(v domainValues) (string, error) {
	if t == nil {
		return v.Name + "." + v.Namespace + "." + v.Domain, nil
	}
	return execute(t.parsed, v)
}

// TagTemplate writes the first label of the hosts of a tag, which is also the name of its placeholder Service. It is a Go template with
// Knative's fields: Name (of the Route) and Tag.
type TagTemplate struct {
	text   string
	parsed *template.Template
}

// Equal says whether two templates have the same text.
func (t *TagTemplate) Equal(o *TagTemplate) bool {
	return t == o || t != nil && o != nil && t.text == o.text
}

type tagValues struct{ Name, Tag string }

// ParseTagTemplate checks a template and compiles it.
func ParseTagTemplate(text string) (*TagTemplate, error) {
	parsed, err := template.New("tag-template").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	t := &TagTemplate{text, parsed}
	label, err := t.label(tagValues{Name: "foo", Tag: "v2"})
	if err != nil {
		return nil, err
	}
	if !isFQDN(label + ".bar") {
		return nil, fmt.Errorf("it makes %q of the tag v2 of the Route foo, want a part of a host name", label)
	}
	return t, nil
}

// label executes the template; nil is the default one. Without a tag the label is the Route's name.
func (t *TagTemplate) label(v tagValues) (string, error) {
	switch {
	case v.Tag == "":
		return v.Name, nil
	case t == nil:
		return v.Tag + "-" + v.Name, nil
	}
	return execute(t.parsed, v)
}

func execute(t *template.Template, values any) (string, error) {
	var b strings.Builder
	if err := t.Execute(&b, values); err != nil {
		return "", fmt.Errorf("executing the %s: %w", t.Name(), err)
	}
	return b.String(), nil
}
