package gateway

import (
	"maps"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/listener"
	"sluice.dev/sluice/xds/client"
)

// secretSlot is the place of a secret, by its name. Filter chains refer to it.
type secretSlot struct {
	secret *config.Secret // the newest good version; nil until one has come
}

// setSecret takes a certificate. Handshakes from now on use it; connections keep what they began with, and no socket and no
// server is another one. One that is removed while a listener names it stays, as in Envoy.
func (g *Gateway) setSecret(r client.Resource) error {
	slot := g.secrets[r.Name]
	if slot == nil {
		return nil
	}
	next, err := config.CompileSecret(r.Name, r.Version, r.Body)
	if err != nil {
		return err
	}
	slot.secret = next
	leaf := next.Certificate.Leaf
	g.logger.Info("certificate in use", "secret", r.Name, "serial", leaf.SerialNumber.Text(16), "until", leaf.NotAfter.UTC().Format(time.RFC3339))
	for l := range g.versions {
		for _, c := range l.chains {
			c.renew()
		}
	}
	g.activateWarm()
	return nil
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
	if c.config.TLS == nil {
		return
	}
	c.serves.TLS = listener.NewTLS(c.config.TLS.Base, g.tickets)
	for _, name := range c.config.TLS.Secrets {
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
			if c.config.TLS == nil {
				continue
			}
			for _, name := range c.config.TLS.Secrets {
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
