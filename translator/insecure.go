package translator

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"sluice.dev/sluice/model"
)

// schemeHeader is what a gateway knows of the client's connection. It sets the header itself, before it selects a route, whatever a client
// sends. The listeners for HTTP and HTTPS have their routes in common, so the routes must ask.
const schemeHeader = "x-forwarded-proto"

// insecure is the route of external requests without TLS, where they are not served. The redirect names a port only when it is not the
// usual one: the gateway drops port 80 from the host itself.
//
// Envoy's VirtualHost.require_tls would do the same, but keeps the port at which the client reached HTTP.
func (v virtualHost) insecure() *routev3.Route {
	match := anyPath(&routev3.HeaderMatcher{
		Name: schemeHeader,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "http"},
		}},
	})
	if v.http == model.HTTPDisabled {
		return &routev3.Route{Match: match, Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 403,
			Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
				InlineString: "This host is served over HTTPS only.\n",
			}},
		}}}
	}
	redirect := &routev3.RedirectAction{SchemeRewriteSpecifier: &routev3.RedirectAction_HttpsRedirect{HttpsRedirect: true}}
	if v.httpsPort != usualHTTPS {
		redirect.PortRedirect = uint32(v.httpsPort) //nolint:gosec // a port
	}
	return &routev3.Route{Match: match, Action: &routev3.Route_Redirect{Redirect: redirect}}
}

// usualHTTPS is the port that URLs of HTTPS do not name.
const usualHTTPS = 443
