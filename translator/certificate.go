package translator

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"sluice.dev/sluice/model"
)

// handshakeTimeout is how long a client may take for its TLS handshake. Envoy has no bound by default.
const handshakeTimeout = 10 * time.Second

// addTLS gives a listener one filter chain per certificate, chosen by server name, and unless noDefault the first one for any other name.
// The chains refer to their certificates by name and do not contain them, since Envoy closes the connections of a chain that changes.
func addTLS(l *listenerv3.Listener, certificates []model.Certificate, noDefault bool) {
	filters := l.FilterChains[0].Filters
	l.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: anyOf(&tlsinspectorv3.TlsInspector{})},
	}}
	l.FilterChains = nil
	for i, c := range certificates {
		chain := &listenerv3.FilterChain{Name: c.Name, Filters: filters, TransportSocket: transportSocket(c.Name),
			TransportSocketConnectTimeout: durationpb.New(handshakeTimeout)}
		if i == 0 && !noDefault {
			l.DefaultFilterChain = &listenerv3.FilterChain{Name: "default", Filters: filters, TransportSocket: transportSocket(c.Name),
				TransportSocketConnectTimeout: durationpb.New(handshakeTimeout)}
		}
		if len(c.Hosts) > 0 {
			chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: c.Hosts}
			l.FilterChains = append(l.FilterChains, chain)
		}
	}
}

// transportSocket serves TLS with the certificate in a secret.
func transportSocket(secret string) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: anyOf(&tlsv3.DownstreamTlsContext{
			CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
				TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: secret, SdsConfig: ads()}},
				AlpnProtocols:                  []string{"h2", "http/1.1"},
			},
		})},
	}
}

// newSecret is a certificate as a resource, with the name that filter chains refer to.
func newSecret(c model.Certificate) *tlsv3.Secret {
	pem := func(text string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	}
	return &tlsv3.Secret{Name: c.Name, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: pem(c.Chain), PrivateKey: pem(c.Key)},
	}}
}

// addSecrets makes a resource of each valid certificate, and returns those certificates. An error reveals nothing of the content.
func (p *gatewayPart) addSecrets(certificates []model.Certificate) []model.Certificate {
	var served []model.Certificate
	for _, c := range certificates {
		r, err := newResource(SecretType, c.Name, RoleGateway, newSecret(c))
		if err != nil {
			p.report(listenerHTTPS, "InvalidCertificate", fmt.Sprintf("certificate %q is left out: %s", c.Name, err))
			continue
		}
		p.secrets = append(p.secrets, r)
		served = append(served, c)
	}
	return served
}

// usable returns the certificates that are key pairs, with lower-case hosts that no certificate before them has.
func (p *gatewayPart) usable(certificates []model.Certificate) []model.Certificate {
	var usable []model.Certificate
	taken := map[string]string{}
	names := map[string]bool{"default": true}
	for _, c := range certificates {
		if _, err := model.ReadPair([]byte(c.Chain), []byte(c.Key)); err != nil {
			p.report(listenerHTTPS, "InvalidCertificate", fmt.Sprintf("certificate %q is left out: %s", c.Name, err))
			continue
		}
		if err := checkCertificateName(c.Name, names); err != nil {
			p.report(listenerHTTPS, "InvalidCertificate", fmt.Sprintf("certificate %q is left out: %s", c.Name, err))
			continue
		}
		names[c.Name] = true
		c.Hosts = p.usableHosts(c, taken)
		usable = append(usable, c)
	}
	return usable
}

func checkCertificateName(name string, taken map[string]bool) error {
	if taken[name] || !validName(strings.NewReplacer("/", "-", "_", "-").Replace(name)) {
		return errors.New("want a name of its own, in lower case")
	}
	return nil
}

// usableHosts returns the hosts of a certificate that no certificate in taken has, and adds them to taken.
func (p *gatewayPart) usableHosts(c model.Certificate, taken map[string]string) []string {
	var hosts []string
	for _, h := range c.Hosts {
		h = strings.ToLower(h)
		if other, ok := taken[h]; ok {
			p.report(listenerHTTPS, "DuplicateHost",
				fmt.Sprintf("certificates %q and %q are both for %q; the former is served", other, c.Name, h))
			continue
		}
		if !validHost(strings.TrimPrefix(h, "*.")) {
			p.report(listenerHTTPS, "InvalidHost",
				fmt.Sprintf("host %q of certificate %q is left out: want a DNS name, or one after \"*.\"",
					h, c.Name))
			continue
		}
		taken[h] = c.Name
		hosts = append(hosts, h)
	}
	return hosts
}
