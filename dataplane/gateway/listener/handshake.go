package listener

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"slices"
	"sync/atomic"
)

// secureChain is what the handshakes of a filter chain use. Of several certificates the client gets the first that fits its server
// name, or else the first.
type TLS struct {
	base    *tls.Config
	tickets *tls.Config                // encrypts the tickets of all sessions
	current atomic.Pointer[tls.Config] // nil until renew
}

func NewTLS(base, tickets *tls.Config) *TLS {
	return &TLS{base: base, tickets: tickets}
}

// renew has handshakes from now on use the certificates of the base and these.
func (t *TLS) Renew(certificates []tls.Certificate) {
	config := t.base.Clone()
	config.Certificates = slices.Concat(config.Certificates, certificates)
	t.bindTickets(config)
	t.current.Store(config)
}

// ready is whether handshakes have certificates.
func (t *TLS) ready() bool { return t.current.Load() != nil }

// bindTickets lets a session be resumed only under the certificates that it began with, as in Envoy: a client that resumes a session
// does not look at the certificate again, and the server may have renewed it because its key was stolen.
func (t *TLS) bindTickets(config *tls.Config) {
	hash := sha256.New()
	for _, c := range config.Certificates {
		hash.Write(c.Certificate[0])
	}
	mark, tickets := hash.Sum(nil), t.tickets
	config.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, mark)
		return tickets.EncryptTicket(state, session)
	}
	config.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := tickets.DecryptTicket(ticket, state)
		if session == nil || !slices.ContainsFunc(session.Extra, func(extra []byte) bool { return bytes.Equal(extra, mark) }) {
			return nil, err // a full handshake
		}
		return session, nil
	}
}
