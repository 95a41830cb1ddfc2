package gateway

import (
	"crypto/tls"
	"fmt"
	"maps"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/xds/client"
)

// secretSlot is the place of a secret, by its name. Filter chains refer to it.
type secretSlot struct {
	secret *secretConfig // the newest good version; nil until one has come
}

// setSecret takes a certificate. Handshakes from now on use it; connections keep what they began with, and no socket and no
// server is another one. One that is removed while a listener names it stays, as in Envoy.
func (g *Gateway) setSecret(r client.Resource) error {
	slot := g.secrets[r.Name]
	if slot == nil {
		return nil
	}
	next, err := compileSecret(r.Name, r.Version, r.Body)
	if err != nil {
		return err
	}
	slot.secret = next
	leaf := next.certificate.Leaf
	g.logger.Info("certificate in use", "secret", r.Name, "serial", leaf.SerialNumber.Text(16), "until", leaf.NotAfter.UTC().Format(time.RFC3339))
	for l := range g.versions {
		for _, c := range l.chains {
			c.renew()
		}
	}
	g.activateWarm()
	return nil
}

// secretConfig is a compiled Secret. It is immutable.
type secretConfig struct {
	certificate tls.Certificate
	version     string
	shown       []byte // the message without its private key
}

// compileSecret compiles a secret. The error never holds key material.
func compileSecret(name, version string, body []byte) (*secretConfig, error) {
	m, err := decode(body, &tlsv3.Secret{})
	if err != nil {
		return nil, err
	}
	if m.GetName() != name {
		return nil, at("name", fmt.Errorf("is %q; it must be the name of the resource", m.GetName()))
	}
	certificate, err := compileCertificate(m.GetTlsCertificate())
	if err != nil {
		return nil, at("tls_certificate", err)
	}
	redactCertificate(m.GetTlsCertificate())
	shown, err := proto.Marshal(m)
	return &secretConfig{certificate: certificate, version: version, shown: shown}, err
}

// versions yields the listeners that are served and those that warm up.
func (g *Gateway) versions(yield func(*version) bool) {
	for _, active := range g.listeners {
		for _, l := range []*version{active.serving, active.warming} {
			if l != nil && !yield(l) {
				return
			}
		}
	}
}

// connectSecrets gives the filter chains of a listener the certificates that they name, and asks for those that are new.
func (g *Gateway) connectSecrets(c *chain) {
	if c.config.tls == nil {
		return
	}
	c.serves.tls = newSecureChain(c.config.tls.base, g.tickets)
	for _, name := range c.config.tls.secrets {
		if g.secrets[name] == nil {
			g.secrets[name] = &secretSlot{}
			g.client.Subscribe(resource.SecretType, name)
		}
		c.secrets = append(c.secrets, g.secrets[name])
	}
	c.renew()
}

// forgetSecrets lets go of certificates that no listener names any more.
func (g *Gateway) forgetSecrets() {
	named := map[string]bool{}
	for l := range g.versions {
		for _, c := range l.chains {
			if c.config.tls == nil {
				continue
			}
			for _, name := range c.config.tls.secrets {
				named[name] = true
			}
		}
	}
	for name := range maps.Clone(g.secrets) {
		if !named[name] {
			delete(g.secrets, name)
			g.client.Unsubscribe(resource.SecretType, name)
		}
	}
}
