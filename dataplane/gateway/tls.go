package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// chainTLS is how the connections of a filter chain become TLS. Of several certificates the first that fits the client's server
// name is served, or else the first.
type chainTLS struct {
	base    *tls.Config // with the certificates, unless they are secrets
	secrets []string    // by name

	// What follows is given by connect. The gateway's mutex guards it, but for current, which handshakes read.
	slots   []*secretSlot
	tickets *tls.Config
	current atomic.Pointer[tls.Config] // nil until all secrets are there
}

// compileTLS makes the TLS configuration of a filter chain. Errors never hold key material.
func compileTLS(s *corev3.TransportSocket) (*chainTLS, error) {
	m, err := unpack(s.GetTypedConfig(), &tlsv3.DownstreamTlsContext{})
	if err != nil {
		return nil, at("typed_config", err)
	}
	if m.GetRequireClientCertificate().GetValue() {
		return nil, at("require_client_certificate", errUnsupported)
	}
	common := m.GetCommonTlsContext()
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: common.GetAlpnProtocols()}
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	if p := common.GetTlsParams(); p != nil {
		// Nothing below TLS 1.2 is served, whatever is asked for.
		config.MinVersion = max(config.MinVersion, tlsVersion(p.GetTlsMinimumProtocolVersion()))
		config.MaxVersion = tlsVersion(p.GetTlsMaximumProtocolVersion())
	}
	t := &chainTLS{base: config}
	return t, at("common_tls_context", t.compileCertificates(common))
}

// compileCertificates takes either certificates or the names of such, as Envoy does.
func (t *chainTLS) compileCertificates(m *tlsv3.CommonTlsContext) error {
	for i, c := range m.GetTlsCertificates() {
		certificate, err := compileCertificate(c)
		if err != nil {
			return atIndex("tls_certificates", i, err)
		}
		t.base.Certificates = append(t.base.Certificates, certificate)
	}
	for i, c := range m.GetTlsCertificateSdsSecretConfigs() {
		if err := fromADS(c.GetSdsConfig()); err != nil {
			return atIndex("tls_certificate_sds_secret_configs", i, at("sds_config", err))
		}
		t.secrets = append(t.secrets, c.GetName())
	}
	if (len(t.base.Certificates) > 0) == (len(t.secrets) > 0) {
		return errors.New("needs tls_certificates or tls_certificate_sds_secret_configs, and not both")
	}
	return nil
}

func compileCertificate(m *tlsv3.TlsCertificate) (tls.Certificate, error) {
	chain, err := inline(m.GetCertificateChain())
	if err != nil {
		return tls.Certificate{}, at("certificate_chain", err)
	}
	key, err := inline(m.GetPrivateKey())
	if err != nil {
		return tls.Certificate{}, at("private_key", err)
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate_chain and private_key are not a pair: %w", err)
	}
	return certificate, nil
}

// renew has handshakes from now on use the newest certificates, when all have come.
func (t *chainTLS) renew() {
	config := t.base.Clone()
	for _, slot := range t.slots {
		if slot.certificate == nil {
			return
		}
		config.Certificates = append(config.Certificates, *slot.certificate)
	}
	t.bindTickets(config)
	t.current.Store(config)
}

// bindTickets has a session be resumed only under the certificates that it began with, as in Envoy: who resumes one does not
// look at the certificate again, which may have been renewed because its key is no longer secret.
func (t *chainTLS) bindTickets(config *tls.Config) {
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

func tlsVersion(v tlsv3.TlsParameters_TlsProtocol) uint16 {
	switch v {
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13
	}
	return 0
}
