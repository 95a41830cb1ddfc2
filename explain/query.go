package explain

import (
	"fmt"
	"net/url"
	"strings"

	"sluice.dev/sluice/model"
)

// Query is the subject of a question: a name or a host.
type Query struct {
	// Key is of a Service or Route; zero for a host.
	Key model.Key
	// Host is in lower case and without a port.
	Host string
}

// ParseQuery reads NAME, NAMESPACE/NAME, HOST, HOST:PORT or a URL. A text with a dot or a colon is a host. A name without a namespace is
// in the given one.
func ParseQuery(text, namespace string) (Query, error) {
	text = strings.TrimSpace(text)
	if scheme, _, ok := strings.Cut(text, "://"); ok {
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			return Query{}, fmt.Errorf("%q is no URL with a host: want one such as %s://hello.default.localhost:8080", text, scheme)
		}
		return Query{Host: normal(u.Hostname())}, nil
	}
	first, rest, _ := strings.Cut(text, "/")
	switch {
	case strings.ContainsAny(first, ".:"):
		return hostQuery(first)
	case rest != "" && first != "" && !strings.Contains(rest, "/"):
		return Query{Key: model.Key{Namespace: first, Name: rest}}, nil
	case text != "" && first == text:
		return Query{Key: model.Key{Namespace: namespace, Name: text}}, nil
	}
	return Query{}, fmt.Errorf("%q is no service and no host: "+
		"want NAME, NAMESPACE/NAME, a host such as hello.default.localhost, or a URL", text)
}

func hostQuery(text string) (Query, error) {
	host, port, _ := strings.Cut(text, ":")
	if host = normal(host); host == "" || strings.Trim(port, "0123456789") != "" {
		return Query{}, fmt.Errorf("%q is no host: want one such as hello.default.localhost or hello.default.localhost:8080", text)
	}
	return Query{Host: host}, nil
}

// normal returns a host in the form of virtual hosts.
func normal(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// String is the question in full.
func (q Query) String() string {
	if q.Host != "" {
		return "host " + q.Host
	}
	return "Service " + q.Key.String()
}
