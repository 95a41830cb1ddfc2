package session

import (
	"testing"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/offer"
	"sluice.dev/sluice/xds/resource"
)

func TestOtherNacksOfAListenerAreNotAboutItsAddress(t *testing.T) {
	w := &watch{url: resource.ListenerType}
	for text, want := range map[string]bool{
		"Error adding/updating listener(s) http: cannot bind '127.0.0.1:80': Permission denied": true,
		"http: no such filter": false,
		"local: cannot bind '127.0.0.1:8081': Address already in use\nhttp: no such filter": false,
		"listener \"http\": listen tcp 127.0.0.1:1: bind: cannot assign requested address":  true,
	} {
		if got := isUnbound(w, offer.NewEntry(made(resource.ListenerType, "http", "1")), text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}

// Envoy drops the scopes of a listener that it cannot bind, and does not ask for them again when it can.
func TestScopesAreSentAgainWithAListenerThatIsBoundAtLast(t *testing.T) {
	const srds = resource.ScopedRouteType
	for name, scopes := range map[string][]string{"two scopes": {"x", "y"}, "no scopes": nil} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.set(listenerOf(t, &hcmv3.HttpConnectionManager{RouteSpecifier: &hcmv3.HttpConnectionManager_ScopedRoutes{
				ScopedRoutes: &hcmv3.ScopedRoutes{Name: "http",
					ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{}}},
			}}))
			for _, s := range scopes {
				d.set(made(srds, s, "1"))
			}
			c := d.join(Delta, contract.RoleGateway)
			c.subscribe(cds)
			c.subscribe(lds)
			c.take(cds)
			rejected := c.next(lds, "l")
			c.subscribe(srds)
			c.nackOf(rejected, "cannot bind '127.0.0.1:80': Address already in use")
			c.take(srds, scopes...)
			c.quiet()
			d.pass(time.Minute)
			c.act()
			c.take(lds, "l")
			c.take(srds, scopes...)
			c.quiet()
		})
	}
}
