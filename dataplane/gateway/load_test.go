package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	gcpresource "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

func TestLoadByClusterAndZone(t *testing.T) {
	b := start(t, Options{})
	held := make(chan struct{})
	pod := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fail":
			w.WriteHeader(http.StatusBadGateway)
		case "/hold":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-held
		case "/ws":
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.CloseNow()
			_, _, _ = c.Read(r.Context())
		}
	})
	cluster := res(t, gcpresource.ClusterType, "c", newCluster("c"))
	route := routes(t, vhost("h", "*", to(prefix("/"), "c", retries("connect-failure", 2))))
	b.push(plain(t), cluster, endpoints(t, "c", group(0, "pods", pod), group(1, "activator", upstream(t, says("held")))), route)
	is := func(zone string, want client.ClusterLoad) {
		t.Helper()
		b.until("load of "+zone, func() bool {
			return cmp.Equal(b.loads[[2]string{"c", zone}], want, cmpopts.IgnoreFields(client.ClusterLoad{}, "Concurrency", "Streams"))
		})
	}
	sum := func(zone string) client.ClusterLoad {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.loads[[2]string{"c", zone}]
	}
	for range 3 {
		b.get("http://h/").want(t, 200, "")
	}
	b.get("http://h/fail").want(t, 502, "")
	is("pods", client.ClusterLoad{Issued: 4, Succeeded: 3, Failed: 1})
	if before := sum("pods"); before.Concurrency <= 0 || before.Streams != 0 {
		t.Errorf("four requests took %v s, streams %v s", before.Concurrency, before.Streams)
	}

	// A request in progress, and streams: a WebSocket and a gRPC call.
	caller := &http.Client{}
	defer caller.CloseIdleConnections()
	hold := func(contentType string) *http.Response {
		req, _ := http.NewRequest(http.MethodPost, "http://"+b.address("http")+"/hold", nil)
		req.Header.Set("Content-Type", contentType)
		res, err := caller.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	plainCall := hold("text/plain")
	defer plainCall.Body.Close()
	is("pods", client.ClusterLoad{Issued: 5, Succeeded: 3, Failed: 1, InProgress: 1})
	if got := sum("pods"); got.Streams != 0 {
		t.Errorf("a plain request counts as a stream: %v s", got.Streams)
	}
	grpcCall := hold("application/grpc")
	defer grpcCall.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+b.address("http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	is("pods", client.ClusterLoad{Issued: 7, Succeeded: 3, Failed: 1, InProgress: 3})
	b.until("stream-seconds", func() bool { l := b.loads[[2]string{"c", "pods"}]; return l.Streams > 0.1 && l.Concurrency > l.Streams })

	// The endpoints move to another zone, and then the cluster is removed: the gateway still reports its requests in progress.
	b.push(endpoints(t, "c", group(0, "pods"), group(1, "activator", upstream(t, says("held")))))
	b.get("http://h/").want(t, 200, "held")
	is("activator", client.ClusterLoad{Issued: 1, Succeeded: 1})
	b.update(resource.Update{Set: []*resource.Resource{routes(t)}, Removed: []*resource.Resource{cluster, endpoints(t, "c")}})
	b.until("the cluster to be removed", func() bool { return b.gateway.proxy.Clusters.Get("c") == nil })
	before := sum("pods").Streams
	b.until("more stream-seconds", func() bool { return b.loads[[2]string{"c", "pods"}].Streams > before })
	close(held)
	_, _ = io.Copy(io.Discard, plainCall.Body)
	_, _ = io.Copy(io.Discard, grpcCall.Body)
	ws.CloseNow()
	is("pods", client.ClusterLoad{Issued: 7, Succeeded: 6, Failed: 1})
	b.until("the last report of the cluster", func() bool {
		b.gateway.mu.Lock()
		defer b.gateway.mu.Unlock()
		return len(b.gateway.leaving) == 0
	})
}

func TestARetriedRequestCountsWhereItIsAnswered(t *testing.T) {
	b := start(t, Options{})
	b.push(plain(t), res(t, gcpresource.ClusterType, "c", newCluster("c")),
		endpoints(t, "c", group(0, "pods", deadAddress(t)), group(1, "activator", upstream(t, says("held")))),
		routes(t, vhost("h", "*", to(prefix("/no"), "c"), to(prefix("/"), "c", retries("connect-failure", 2)))))
	for range 20 {
		req, _ := http.NewRequest(http.MethodPost, "http://h/", strings.NewReader("body"))
		b.do(req).want(t, 200, "held")
	}
	b.get("http://h/no").want(t, 503, upstreamReset+"connection failure")
	b.until("load", func() bool {
		return b.loads[[2]string{"c", "activator"}].Succeeded == 20 && b.loads[[2]string{"c", "pods"}].Failed == 1
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if pods := b.loads[[2]string{"c", "pods"}]; pods.Issued != 1 || pods.Succeeded != 0 {
		t.Errorf("a request that pods did not answer counts there: %+v", pods)
	}
}
