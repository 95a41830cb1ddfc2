package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// rewrite makes the outgoing request out of the incoming one. Each attempt sets the host of its URL.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	in, out := pr.In, pr.Out
	out.URL.Scheme = "http"
	out.URL.RawQuery = in.URL.RawQuery // as it was sent; what is not valid is the application's to refuse
	for _, key := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := in.Header[key]; ok {
			out.Header[key] = values
		}
	}
	x.manager.forwarded(out.Header, in)
	x.manager.setRequestID(out.Header)
	x.changeHeaders(out.Header, requestChanges)
	if x.span != nil {
		x.traceRevision(out.Header)
	}
	x.rewriteHost(out)
	x.rewritePath(out)
}

func (x *exchange) rewriteHost(out *http.Request) {
	out.Host = x.view.Host
	host := x.target.HostRewrite
	if host == "" {
		host = x.route.Forward.HostRewrite
	}
	if host == "" {
		return
	}
	if x.route.Forward.AppendForwardedHost {
		out.Header["X-Forwarded-Host"] = append(out.Header["X-Forwarded-Host"], out.Host)
	}
	out.Host = host
}

func (x *exchange) rewritePath(out *http.Request) {
	path := x.view.Path
	if by := x.route.Forward.PrefixRewrite; by != "" {
		out.Header["X-Envoy-Original-Path"] = []string{x.view.RequestURI}
		path = settings.Rewritten(path, x.route.Path.Length, by)
	}
	if path == out.URL.EscapedPath() {
		return
	}
	if plain, err := url.PathUnescape(path); err == nil {
		out.URL.Path, out.URL.RawPath = plain, path
	}
	if out.URL.EscapedPath() != path && !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path // has bytes that net/url would escape
	}
}
