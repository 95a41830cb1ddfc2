package sink

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Options of a Sink.
type Options struct {
	// Allow are the hosts and networks that may be reached although they are not public: a name such as results.internal, an address, or a
	// network such as 10.1.0.0/16.
	Allow []string
	// Timeout bounds one message with its answer; 0 means 30 s.
	Timeout time.Duration
}

const (
	defaultTimeout = 30 * time.Second
	connectTimeout = 5 * time.Second
	// maxURL bounds a URL, in bytes.
	maxURL = 2048
	// maxAnswer is how much of an answer is read, so that its connection can be used again.
	maxAnswer = 64 << 10
)

// Sink sends messages.
type Sink struct {
	client   *http.Client
	networks []netip.Prefix
	names    []string
}

// New makes a Sink. The error names what in Allow is neither a host nor a network.
func New(o Options) (*Sink, error) {
	s := &Sink{}
	for _, allowed := range o.Allow {
		if network, err := netip.ParsePrefix(allowed); err == nil {
			s.networks = append(s.networks, network.Masked())
		} else if address, err := netip.ParseAddr(allowed); err == nil {
			s.networks = append(s.networks, netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()))
		} else if allowed != "" && !strings.ContainsAny(allowed, "/:@ *") {
			s.names = append(s.names, strings.ToLower(allowed))
		} else {
			return nil, fmt.Errorf("%q is no host and no network: want results.internal, 10.1.2.3 or 10.1.0.0/16", allowed)
		}
	}
	s.client = &http.Client{
		Timeout:       cmp.Or(o.Timeout, defaultTimeout),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: s.dial, TLSHandshakeTimeout: connectTimeout, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 8, MaxIdleConns: 64, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return s, nil
}

// errForbidden says that an address is not public.
var errForbidden = errors.New("is not a public address: the operator allows others by --callback-allow")

// dial connects to a host, if it is allowed by name or all addresses that are tried are.
func (s *Sink) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: connectTimeout}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(s.names, strings.ToLower(host)) {
		d.Control = func(_, resolved string, _ syscall.RawConn) error {
			target, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return err
			}
			return s.checkAddress(target.Addr())
		}
	}
	return d.DialContext(ctx, network, address)
}

func (s *Sink) checkAddress(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if Public(a) || slices.ContainsFunc(s.networks, func(n netip.Prefix) bool { return n.Contains(a) }) {
		return nil
	}
	return fmt.Errorf("%s %w", a, errForbidden)
}

// reserved are the networks that are not public although Go takes their addresses for global ones (the IANA registries of special-purpose
// addresses). Some of them lead to IPv4 addresses that are not public.
var reserved = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	"3fff::/20", "5f00::/16", "fec0::/10")

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// Public says that an address can belong to anybody on the Internet: not to this machine, to a private or link-local network, to a group of
// receivers, or to a range that is reserved.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() &&
		!slices.ContainsFunc(reserved, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Check says what is wrong with a URL, as far as it can be known before its name is resolved.
func (s *Sink) Check(text string) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return fmt.Errorf("the URL has %d bytes: at most %d are allowed", len(text), maxURL)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("%q is no URL to send to: want https://host/path", text)
	case u.User != nil:
		return errors.New("the URL has a user: a password would be kept with the task")
	}
	host := strings.ToLower(u.Hostname())
	if slices.Contains(s.names, host) {
		return nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return s.checkAddress(a)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return fmt.Errorf("%s %w", host, errForbidden)
	}
	return nil
}

// Message is what a Sink sends, by POST.
type Message struct {
	URL    string
	Header http.Header
	Body   []byte
}

// Send sends a message, and returns nil when it was answered with a status from 200 to 299. final says that another try would not help: the
// address is not allowed, or the receiver does not want the message.
func (s *Sink) Send(ctx context.Context, m Message) (final bool, err error) {
	if err := s.Check(m.URL); err != nil {
		return true, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return true, err
	}
	for name, values := range m.Header {
		r.Header[name] = values
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return errors.Is(err, errForbidden), err
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return false, nil
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return false, fmt.Errorf("%s answered %s", r.URL.Host, answer.Status)
	default:
		return true, fmt.Errorf("%s answered %s", r.URL.Host, answer.Status)
	}
}
