package xds_test

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// secret is a certificate; text makes one version differ from another.
func secret(name, text string) *resource.Resource {
	inline := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	return made(resource.SecretType, name, &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline},
	}})
}

// secured is a listener that serves TLS with secrets, and the route configuration "http".
func secured(name, text string, secrets ...string) *resource.Resource {
	context := &tlsv3.CommonTlsContext{}
	for _, s := range secrets {
		context.TlsCertificateSdsSecretConfigs = append(context.TlsCertificateSdsSecretConfigs,
			&tlsv3.SdsSecretConfig{Name: s, SdsConfig: adsSource()})
	}
	// The client does not subscribe here to one that comes from elsewhere.
	context.TlsCertificateSdsSecretConfigs = append(context.TlsCertificateSdsSecretConfigs, &tlsv3.SdsSecretConfig{Name: "static"})
	return made(resource.ListenerType, name, &listenerv3.Listener{
		Name: name, StatPrefix: text,
		FilterChains: []*listenerv3.FilterChain{{
			Filters: []*listenerv3.Filter{{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyOf(&hcmv3.HttpConnectionManager{
				RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "http", ConfigSource: adsSource()}},
			})}}},
			TransportSocket: &corev3.TransportSocket{ConfigType: &corev3.TransportSocket_TypedConfig{
				TypedConfig: anyOf(&tlsv3.DownstreamTlsContext{CommonTlsContext: context}),
			}},
		}},
	})
}

// terminate connects a gateway that has listener https with the secret a, and routes.
func terminate(t *testing.T, p *protocol, options xds.Options) (*rig, *raw) {
	r := serve(t, options)
	r.set(secured("https", "", "a"), routes("http"), secret("a", "1"))
	c := r.connect(t, p, "gateway")
	c.subscribe(resource.ClusterType)
	c.take(resource.ClusterType)
	c.subscribe(resource.ListenerType)
	c.take(resource.ListenerType, "https")
	c.subscribe(resource.SecretType, "a")
	c.take(resource.SecretType, "a")
	c.subscribe(resource.RouteType, "http")
	c.take(resource.RouteType, "http")
	c.quiet()
	return r, c
}

func TestRenewedSecretIsSentAloneAndBeforeAListener(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := terminate(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.set(secret("a", "2"))
		c.take(resource.SecretType, "a")
		c.quiet()
		r.set(secured("https", "changed", "a"), secret("a", "3"))
		made := c.expect(resource.SecretType, "a")
		c.quiet() // the listener may need the new secret, and waits
		c.ack(made)
		c.take(resource.ListenerType, "https")
		c.quiet()
	})
}

func TestSecretGoesAfterTheListenerThatNamedIt(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := terminate(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(resource.Update{Removed: []*resource.Resource{secured("https", "", "a"), secret("a", "1")}})
		if p == sotw {
			c.take(resource.ListenerType) // then the client unsubscribes by itself
			c.quiet()
			return
		}
		removed := c.next()
		if removed.Type != resource.ListenerType || len(removed.Removed) != 1 {
			t.Fatalf("got %s without %v, want the listener to go first", removed.short(), removed.Removed)
		}
		c.quiet() // not acknowledged
		c.ack(removed)
		c.gone(resource.SecretType, "a")
		c.quiet()
	})
}

func TestOldSecretStaysUntilTheListenersNewOneWasAskedFor(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r, c := terminate(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
		r.Apply(resource.Update{
			Set: []*resource.Resource{secured("https", "", "b"), secret("b", "1")}, Removed: []*resource.Resource{secret("a", "1")},
		})
		c.take(resource.ListenerType, "https")
		c.quiet() // the listener in use may still be the old one
		c.subscribe(resource.SecretType, "b")
		got := c.next()
		if got.Type != resource.SecretType || got.Set["b"] == nil {
			t.Fatalf("got %s with %v, want the new secret", got.short(), got.names())
		}
		c.ack(got)
		if p == delta {
			c.gone(resource.SecretType, "a")
		}
		c.quiet()
	})
}

func TestGatewayIsBehindUntilItHasItsSecrets(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		moved := make(chan resource.Progress, 1000)
		r, c := terminate(t, p, xds.Options{Settle: time.Nanosecond, Wait: time.Hour, Progress: func(p resource.Progress) { moved <- p }})
		r.connect(t, p, "mesh").quiet() // it is subscribed to nothing
		seq := r.set(secured("https", "", "a", "b"), secret("b", "1"))
		behind := func(what string) {
			t.Helper()
			c.quiet()
			now := r.set(endpoints("other", what)) // which no client is subscribed to
			for got := range moved {
				if got.Role == contract.RoleGateway && got.Seq >= seq {
					t.Fatalf("the gateway is said to be at %d, though it has not %s its secret", got.Seq, what)
				}
				if got.Role == contract.RoleMesh && got.Seq == now {
					return
				}
			}
		}
		c.take(resource.ListenerType, "https")
		behind("asked for")
		c.subscribe(resource.SecretType, "b")
		got := c.next()
		behind("acknowledged")
		c.ack(got)
		for got := range moved {
			if got.Role == contract.RoleGateway && got.Seq >= seq {
				return
			}
		}
	})
}
