package gateway

import (
	"maps"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/listener"
	"sluice.dev/sluice/xds/client"
)

// secretSlot holds the newest good version of a secret. Filter chains that name it share the slot.
type secretSlot struct {
	secret *config.Secret // nil until one has come
}

// setSecret puts a certificate into force. Handshakes from now on use it, and connections keep what they began with. The gateway keeps a
// secret that is removed while a listener names it, as Envoy does.
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
	g.logger.Info("certificate in use", "secret", r.Name, "serial", leaf.SerialNumber.Text(16),
		"until", leaf.NotAfter.UTC().Format(time.RFC3339))
	for l := range g.versions {
		for _, c := range l.chains {
			c.renew()
		}
	}
	g.activateWarm()
	return nil
}

// connectSecrets links a filter chain to the secrets that it names. It subscribes to those that no other chain names.
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

// forgetSecrets unsubscribes from secrets that no listener names any more.
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
