package config

import (
	"crypto/tls"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// RedactCertificate takes the private key out of a certificate.
func RedactCertificate(m *tlsv3.TlsCertificate) {
	m.PrivateKey = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "[redacted]"}}
}

// Secret is a compiled Secret. It is immutable.
type Secret struct {
	Certificate tls.Certificate
	Version     string
	Body        []byte // the message without its private key, for /config_dump
}

// CompileSecret compiles a Secret. An error never holds key material.
func CompileSecret(name, version string, body []byte) (*Secret, error) {
	m, err := decodeNamed(name, body, &tlsv3.Secret{})
	if err != nil {
		return nil, err
	}
	certificate, err := compileCertificate(m.GetTlsCertificate())
	if err != nil {
		return nil, at("tls_certificate", err)
	}
	RedactCertificate(m.GetTlsCertificate())
	redacted, err := proto.Marshal(m)
	return &Secret{Certificate: certificate, Version: version, Body: redacted}, err
}
