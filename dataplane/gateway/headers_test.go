package gateway

import (
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// headers appends headers: key, value, key, value …
func headers(pairs ...string) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: pairs[i], Value: pairs[i+1]}})
	}
	return out
}

func action(a corev3.HeaderValueOption_HeaderAppendAction, h []*corev3.HeaderValueOption) []*corev3.HeaderValueOption {
	for _, o := range h {
		o.AppendAction = a
	}
	return h
}

func text(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func TestHeadersChangeAtEveryLevelInEnvoysOrder(t *testing.T) {
	b := start(t, Options{})
	overwrite := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	r := to(prefix("/"), "", weights("echo", 100))
	weighted := r.GetRoute().GetWeightedClusters().Clusters[0]
	weighted.RequestHeadersToAdd = append(headers("x-order", "cluster"), action(overwrite, headers("knative-serving-revision", "rev-1"))...)
	weighted.ResponseHeadersToAdd = headers("x-answer", "cluster")
	r.RequestHeadersToAdd = append(headers("x-order", "route", "x-percent", "100%%"),
		action(corev3.HeaderValueOption_ADD_IF_ABSENT, headers("x-default", "mine"))...)
	r.RequestHeadersToRemove = []string{"x-secret"}
	vh := vhost("h", "*", r)
	vh.RequestHeadersToAdd = headers("x-order", "host")
	vh.ResponseHeadersToRemove = []string{"x-upstream"}
	config := &routev3.RouteConfiguration{
		Name: "http", VirtualHosts: []*routev3.VirtualHost{vh}, RequestHeadersToAdd: headers("x-order", "config"),
	}
	addr := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upstream", "internal")
		w.Header().Set("X-Answer", "upstream")
		echo(w, r)
	})
	b.push(all(one(plain(t)), backend(t, "echo", addr), one(res(t, resource.RouteType, "http", config)))...)

	got := b.get("http://h/", "x-secret", "s", "knative-serving-revision", "forged", "x-default", "theirs")
	for _, want := range []string{
		"X-Order: cluster\nX-Order: route\nX-Order: host\nX-Order: config\n", "Knative-Serving-Revision: rev-1\n", "X-Default: theirs\n",
		"X-Percent: 100%\n",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("upstream saw\n%s\nwithout %q", got.body, want)
		}
	}
	for _, not := range []string{"X-Secret", "forged"} {
		if strings.Contains(got.body, not) {
			t.Errorf("upstream saw\n%s\nwith %q", got.body, not)
		}
	}
	if a := got.Header["X-Answer"]; len(a) != 2 || a[1] != "cluster" || got.Header.Get("X-Upstream") != "" {
		t.Errorf("response headers %v", got.Header)
	}
	config.MostSpecificHeaderMutationsWins = true
	b.push(res(t, resource.RouteType, "http", config))
	if got := b.get("http://h/"); !strings.Contains(got.body, "X-Order: config\nX-Order: host\nX-Order: route\nX-Order: cluster\n") {
		t.Errorf("with most_specific_header_mutations_wins the upstream saw\n%s", got.body)
	}
}

func TestTheUpstreamLearnsOfTheClient(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "echo", upstream(t, echo)), one(routes(t, vhost("h", "*", to(prefix("/"), "echo")))))...)
	got := b.get("http://h/", "x-forwarded-for", "10.1.1.1", "x-forwarded-proto", "https", "forwarded", "for=a").body
	for _, want := range []string{
		"X-Forwarded-For: 10.1.1.1,127.0.0.1\n", "X-Forwarded-Proto: http\n", "Forwarded: for=a\n", "X-Request-Id: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("upstream saw\n%s\nwithout %q", got, want)
		}
	}
	if got := b.get("http://h/", "x-request-id", "mine").body; strings.Contains(got, "X-Request-Id: mine\n") {
		t.Errorf("a client's request id was kept:\n%s", got)
	}
	b.push(plain(t, func(m *hcmv3.HttpConnectionManager) { m.PreserveExternalRequestId = true }))
	if got := b.get("http://h/", "x-request-id", "mine").body; !strings.Contains(got, "X-Request-Id: mine\n") {
		t.Errorf("a client's request id was replaced:\n%s", got)
	}
	b.push(plain(t, func(m *hcmv3.HttpConnectionManager) { m.GenerateRequestId = wrapperspb.Bool(false) }))
	if got := b.get("http://h/").body; strings.Contains(got, "X-Request-Id") {
		t.Errorf("a request id was made though that is turned off:\n%s", got)
	}
}

func TestTooManyHeadersAreRefused(t *testing.T) {
	b := start(t, Options{})
	b.push(all(one(plain(t)), backend(t, "echo", upstream(t, echo)), one(routes(t, vhost("h", "*", to(prefix("/"), "echo")))))...)
	for _, n := range []int{200, 10000} {
		req, _ := http.NewRequest(http.MethodGet, "http://h/", nil)
		for range n {
			req.Header.Add("x-many", "v")
		}
		if got := b.do(req); got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%d headers got %d, want 431", n, got.StatusCode)
		}
	}
	b.get("http://h/", "x-one", strings.Repeat("v", 40<<10)).Body.Close()
	if got := b.get("http://h/", "x-one", strings.Repeat("v", 70<<10)); got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 70 KiB got %d, want 431", got.StatusCode)
	}
}
