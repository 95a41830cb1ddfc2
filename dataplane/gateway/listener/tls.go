package listener

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"slices"
	"sync/atomic"
)

// TLS is what the handshakes of a filter chain use. Of several certificates the client gets the first that fits its server name, or else
// the first.
type TLS struct {
	base    *tls.Config
	tickets *tls.Config                // encrypts session tickets
	current atomic.Pointer[tls.Config] // nil until Renew
}

// NewTLS needs Renew before the first handshake. tickets encrypts the session tickets of all filter chains.
func NewTLS(base, tickets *tls.Config) *TLS {
	return &TLS{base: base, tickets: tickets}
}

// Renew has handshakes from now on use the certificates of the base and these. Connections keep what they began with.
func (t *TLS) Renew(certificates []tls.Certificate) {
	config := t.base.Clone()
	config.Certificates = slices.Concat(config.Certificates, certificates)
	t.bindTickets(config)
	t.current.Store(config)
}

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
