package config

import (
	"crypto/tls"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// compileTLS compiles the TLS of a filter chain. An error never holds key material.
func compileTLS(s *corev3.TransportSocket) (*settings.TLS, error) {
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
		// No handshake goes below TLS 1.2, whatever the resource says.
		config.MinVersion = max(config.MinVersion, tlsVersion(p.GetTlsMinimumProtocolVersion()))
		config.MaxVersion = tlsVersion(p.GetTlsMaximumProtocolVersion())
	}
	t := &settings.TLS{Base: config}
	return t, at("common_tls_context", compileCertificates(t, common))
}

// compileCertificates accepts either certificates or names of secrets, as Envoy does.
func compileCertificates(t *settings.TLS, m *tlsv3.CommonTlsContext) error {
	for i, c := range m.GetTlsCertificates() {
		certificate, err := compileCertificate(c)
		if err != nil {
			return atIndex("tls_certificates", i, err)
		}
		t.Base.Certificates = append(t.Base.Certificates, certificate)
	}
	for i, c := range m.GetTlsCertificateSdsSecretConfigs() {
		if err := fromADS(c.GetSdsConfig()); err != nil {
			return atIndex("tls_certificate_sds_secret_configs", i, at("sds_config", err))
		}
		t.Secrets = append(t.Secrets, c.GetName())
	}
	if (len(t.Base.Certificates) > 0) == (len(t.Secrets) > 0) {
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
