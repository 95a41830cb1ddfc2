package admin

import (
	"net/http"
	"net/http/httputil"
	"net/url"

	"sluice.dev/sluice/envoy"
)

// envoyPages are the pages of Envoy's admin interface that --admin has. Other pages change Envoy, some also by a GET, or cost it much.
var envoyPages = []string{"/ready", "/clusters", "/config_dump", "/stats/prometheus"}

// EnvoyPages passes requests on to the admin interface of an Envoy, so that its pages are where those of the built-in gateway would be.
// Only this user reaches the interface itself, which can change and stop Envoy.
func EnvoyPages(address string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: envoy.AdminTransport(address),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: envoy.AdminHost(address)}) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "Envoy does not answer: "+err.Error(), http.StatusBadGateway)
		},
	}
	pages := http.NewServeMux()
	for _, page := range envoyPages {
		pages.Handle("GET "+page, proxy)
	}
	return pages
}
