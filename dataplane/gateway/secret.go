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

// secretSlot is a secret by its name, which filter chains refer to.
type secretSlot struct {
	certificate *tls.Certificate // nil until it has come
	version     string
	shown       []byte // the message without its private key
}

// setSecret takes a certificate. Handshakes from now on use it; connections keep what they began with, and no socket and no
// server is another one. One that is removed while a listener names it stays, as in Envoy.
func (g *Gateway) setSecret(r client.Resource) error {
	slot := g.secrets[r.Name]
	if slot == nil {
		return nil
	}
	next, err := compileSecret(r)
	if err != nil {
		return err
	}
	*slot = *next
	leaf := slot.certificate.Leaf
	g.logger.Info("certificate in use", "secret", r.Name, "serial", leaf.SerialNumber.Text(16), "until", leaf.NotAfter.UTC().Format(time.RFC3339))
	for l := range g.versions {
		for _, t := range l.tls() {
			t.renew()
		}
	}
	g.activateWarm()
	return nil
}

// compileSecret decodes a secret. The error never holds key material.
func compileSecret(r client.Resource) (*secretSlot, error) {
	m, err := decode(r.Body, &tlsv3.Secret{})
	if err != nil {
		return nil, err
	}
	if m.GetName() != r.Name {
		return nil, at("name", fmt.Errorf("is %q; it must be the name of the resource", m.GetName()))
	}
	certificate, err := compileCertificate(m.GetTlsCertificate())
	if err != nil {
		return nil, at("tls_certificate", err)
	}
	redactCertificate(m.GetTlsCertificate())
	shown, err := proto.Marshal(m)
	return &secretSlot{certificate: &certificate, version: r.Version, shown: shown}, err
}

// versions yields the listeners that are served and those that warm up.
func (g *Gateway) versions(yield func(*listener) bool) {
	for _, active := range g.listeners {
		for _, l := range []*listener{active.serving, active.warming} {
			if l != nil && !yield(l) {
				return
			}
		}
	}
}

// connectSecrets gives the filter chains of a listener the certificates that they name, and asks for those that are new.
func (g *Gateway) connectSecrets(l *listener) {
	for _, t := range l.tls() {
		t.tickets = g.tickets
		t.slots = nil
		for _, name := range t.secrets {
			if g.secrets[name] == nil {
				g.secrets[name] = &secretSlot{}
				g.client.Subscribe(resource.SecretType, name)
			}
			t.slots = append(t.slots, g.secrets[name])
		}
		t.renew()
	}
}

// forgetSecrets lets go of certificates that no listener names any more.
func (g *Gateway) forgetSecrets() {
	named := map[string]bool{}
	for l := range g.versions {
		for _, t := range l.tls() {
			for _, name := range t.secrets {
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
