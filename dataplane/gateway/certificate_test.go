package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/xds/resource"
)

// certificate is a key pair as PEM, signed by itself.
type certificate struct{ host, chain, key string }

func newCertificate(t testing.TB, host string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return certificate{host, block("CERTIFICATE", der), block("PRIVATE KEY", private)}
}

// tlsListener is the listener "https": a filter chain for each certificate's host, and the first one for all others.
func tlsListener(t testing.TB, certificates ...certificate) *resource.Resource {
	l := newListener(t, "https", "127.0.0.1:0", newManager(t, "http"))
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name: "tls", ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(t, &tlsinspectorv3.TlsInspector{})},
	}}
	base := l.FilterChains[0]
	l.FilterChains = nil
	for i, c := range certificates {
		chain := proto.Clone(base).(*listenerv3.FilterChain)
		chain.TransportSocket = tlsSocket(t, &tlsv3.CommonTlsContext{
			TlsCertificates: []*tlsv3.TlsCertificate{{CertificateChain: text(c.chain), PrivateKey: text(c.key)}},
		})
		if i == 0 {
			l.DefaultFilterChain = proto.Clone(chain).(*listenerv3.FilterChain)
		}
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{c.host}}
		l.FilterChains = append(l.FilterChains, chain)
	}
	return res(t, gcpresource.ListenerType, "https", l)
}
