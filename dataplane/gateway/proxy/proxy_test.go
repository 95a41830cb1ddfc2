package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/dataplane/replay"
)

// roundTripper stands for the connections to endpoints.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f roundTripper) transport() *http.Transport {
	t := &http.Transport{Protocols: new(http.Protocols)}
	t.RegisterProtocol("http", f)
	return t
}

func says(r *http.Request, text string) *http.Response {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}, Body: io.NopCloser(strings.NewReader(text)),
		ContentLength: int64(len(text)), Request: r,
	}
}

// put adds a cluster with one endpoint.
func put(p *Proxy, name, address string) {
	c := &Cluster{Name: name}
	c.Config.Store(&settings.Cluster{})
	c.Assign(at(address))
	p.Clusters.Put(c)
}

func at(address string) *Assignment {
	endpoints := []settings.Endpoint{{Address: address, Weight: 1}}
	return NewAssignment(&settings.Endpoints{Localities: []settings.Locality{{Zone: "pods", Endpoints: endpoints}}}, nil)
}

// serve serves requests by virtual hosts that match every path.
func serve(p *Proxy, hosts ...*settings.VirtualHost) *Manager {
	edit := settings.EditHosts(&settings.HostTable{})
	for _, vh := range hosts {
		for _, domain := range vh.Domains {
			edit.Set(domain, vh)
		}
		for _, r := range vh.Routes {
			r.Path = settings.PathMatch{Matches: func(string) bool { return true }}
		}
	}
	table := &settings.RouteTable{Hosts: edit.Done(), RouteSettings: &settings.RouteSettings{}}
	m := &settings.Manager{
		MaxHeaders: 100, Edge: true, AppendForwardedFor: true, RequestID: true, OverwriteRequestID: true, StripPort: settings.StripAnyPort,
	}
	return p.NewManager(m, &ManagerStats{}, func(string) *settings.RouteTable { return table })
}

func TestARetryLooksAtTheNewestEndpoints(t *testing.T) {
	p := New(hclog.NewNullLogger())
	put(p, "c", "127.0.0.1:1")
	p.upstreams.http1 = roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "127.0.0.1:1" {
			p.Clusters.Get("c").Assign(at("127.0.0.1:2"))
			return nil, &connectError{net.ErrClosed}
		}
		return says(r, "good"), nil
	}).transport()
	m := serve(p, &settings.VirtualHost{Domains: []string{"*"}, Routes: []*settings.Route{{Forward: &settings.Forward{
		Clusters: []settings.WeightedCluster{{Name: "c", Weight: 1}}, Total: 1, Retry: settings.Retry{Max: 1, ConnectFailure: true},
	}}}})
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://h/", nil))
	if w.Code != 200 || w.Body.String() != "good" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

// BenchmarkHandler compares the work of one request without a client's and an upstream's: both proxies talk to a
// connection-less transport. The gateway has a weighted route and 1,000 virtual hosts.
func BenchmarkHandler(b *testing.B) {
	p := New(hclog.NewNullLogger())
	p.upstreams.http1 = roundTripper(func(r *http.Request) (*http.Response, error) { return says(r, "hello"), nil }).transport()
	var hosts []*settings.VirtualHost
	for i := range 1000 {
		f := &settings.Forward{Total: 100, Timeout: 0, Idle: -1, MaxDuration: -1}
		for j, weight := range []uint32{70, 30} {
			name := fmt.Sprint("default/svc-", i, "-0000", j+1)
			changes := &settings.HeaderChanges{Set: []settings.HeaderChange{
				{Key: "Knative-Serving-Revision", Value: []string{name}}, {Key: "Knative-Serving-Namespace", Value: []string{"default"}},
			}}
			f.Clusters = append(f.Clusters, settings.WeightedCluster{
				Name: name, Weight: weight, Changes: settings.LevelChanges{Request: changes},
			})
			put(p, name, "127.0.0.1:1")
		}
		hosts = append(hosts, &settings.VirtualHost{
			Domains: []string{fmt.Sprintf("svc-%d.default.example.com", i)}, Routes: []*settings.Route{{Forward: f}},
		})
	}
	bare := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "127.0.0.1:1"
			r.SetXForwarded()
		},
		Transport:  p.upstreams.http1,
		BufferPool: &replay.Buffers{},
	}
	for name, handler := range map[string]http.Handler{"reverseproxy": bare, "gateway": serve(p, hosts...)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, "http://svc-7.default.example.com/", nil)
				r.Header = http.Header{"User-Agent": {"bench"}, "Accept": {"*/*"}}
				handler.ServeHTTP(w, r)
				if w.Code != 200 {
					b.Fatal(w.Code)
				}
			}
		})
	}
}

// BenchmarkWriteCheck is what it costs to look, before a request is written, whether the endpoint has closed the connection.
func BenchmarkWriteCheck(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			if _, err := ln.Accept(); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	c := &upstreamConn{Conn: conn, peer: newPeer(conn)}
	b.ReportAllocs()
	for b.Loop() {
		if c.peer.gone() {
			b.Fatal("the connection is said to be closed")
		}
	}
}
