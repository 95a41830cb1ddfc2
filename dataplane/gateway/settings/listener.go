package settings

import (
	"crypto/tls"
	"strings"
	"time"
)

// Listener is an address and how its connections are served.
type Listener struct {
	Name, Version string
	Body          []byte         // the message that it was made from, for /config_dump
	Address       string         // host:port as configured; port 0 is any free one
	Chains        []*FilterChain // for the server names that they list
	Fallback      *FilterChain   // for all other server names; nil refuses them
	Server        Server
}

// FilterChain serves the connections to some server names.
type FilterChain struct {
	ServerNames []string // lower case; "*.example.com" is a suffix
	TLS         *TLS     // nil is plain text
	HTTP        *Manager
}

// Server is what an HTTP server cannot change once it has started: connections keep what they began with.
type Server struct {
	TLS            bool
	HeaderTimeout  time.Duration // 0 is no limit
	IdleTimeout    time.Duration // 0 is no limit
	MaxHeaderBytes int
	MaxStreams     int
}

// Chain is the index in All of the filter chain for a server name: the exact name, then the longest suffix, then Fallback; -1 when
// there is none.
func (l *Listener) Chain(serverName string) int {
	best, length := -1, 0
	if l.Fallback != nil {
		best = len(l.Chains)
	}
	if len(l.Chains) == 0 {
		return best
	}
	name := strings.ToLower(serverName)
	for i, c := range l.Chains {
		for _, want := range c.ServerNames {
			if want == name {
				return i
			}
			if suffix, ok := strings.CutPrefix(want, "*"); ok && strings.HasSuffix(name, suffix) && len(suffix) > length {
				best, length = i, len(suffix)
			}
		}
	}
	return best
}

// All are the filter chains of a listener, Fallback last.
func (l *Listener) All() []*FilterChain {
	if l.Fallback == nil {
		return l.Chains
	}
	return append(l.Chains[:len(l.Chains):len(l.Chains)], l.Fallback)
}

// TLS is how a filter chain does its handshakes.
type TLS struct {
	Base    *tls.Config // with the certificates of the listener itself
	Secrets []string    // the names of the certificates that come as secrets
}
