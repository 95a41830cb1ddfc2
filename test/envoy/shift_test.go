package envoy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"sluice.dev/sluice/envoy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/realenvoy"
)

// underLoad lets so many users send POSTs, one after the other, while during runs.
func underLoad(t *testing.T, c *control, n int, during func()) *tally {
	results, stop := &tally{}, make(chan struct{})
	var users sync.WaitGroup
	for range n {
		u := c.user(t)
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					results.add(u.send(http.MethodPost, "/"))
				}
			}
		})
	}
	during()
	close(stop)
	users.Wait()
	return results
}

// shifted is a World in which all requests go to the n-th revision; if n is odd, half of them go to the one before. No other revision
// has a cluster.
func shifted(n int, endpoint model.Endpoint) *model.World {
	w := worldOf(model.Backend{})
	w.Backends = nil
	shares := []model.Share{{Revision: model.Key{Namespace: "default", Name: fmt.Sprintf("hello-%05d", n)}, Percent: 100}}
	if n%2 == 1 {
		shares[0].Percent = 50
		shares = append(shares, model.Share{Revision: model.Key{Namespace: "default", Name: fmt.Sprintf("hello-%05d", n-1)}, Percent: 50})
	}
	for _, s := range shares {
		w.Backends = append(w.Backends, &model.Backend{Revision: s.Revision, Protocol: model.HTTP1, Endpoints: []model.Endpoint{endpoint}})
	}
	w.Routes[0].Rules[0].Shares = shares
	return w
}

// Routes move from cluster to cluster, each of them new: with delta xDS, with state of the world, and with a server that closes old
// connections.
func TestRoutesShiftUnderLoad(t *testing.T) {
	path := realenvoy.Find(t)
	aging := grpc.KeepaliveParams(keepalive.ServerParameters{
		MaxConnectionAge: 300 * time.Millisecond, MaxConnectionAgeGrace: 100 * time.Millisecond,
	})
	for name, test := range map[string]struct {
		options []grpc.ServerOption
		edit    func(string) string
	}{
		"delta":              {},
		"state of the world": {edit: func(s string) string { return strings.ReplaceAll(s, "DELTA_GRPC", "GRPC") }},
		"aging connections":  {options: []grpc.ServerOption{aging}},
	} {
		t.Run(name, func(t *testing.T) {
			application, c := start(t, "server", "application"), newControl(t, test.options...)
			c.serve(shifted(0, application.Endpoint))
			startEnvoy(t, path, c, test.edit)
			underLoad(t, c, 4, func() {
				for n := range 100 {
					c.serve(shifted(n+1, application.Endpoint))
					eventually(t, "Envoy has the state", c.settled)
				}
			}).want(t, "application")
		})
	}
}

// A listener changes while requests are in flight.
func TestListenerChangesUnderLoad(t *testing.T) {
	eachGateway(t, func(t *testing.T, begin func(*control)) {
		if strings.HasSuffix(t.Name(), "/Envoy") {
			version, err := envoy.Check(t.Context(), realenvoy.Find(t))
			if err != nil {
				t.Fatal(err)
			}
			if version.Compare(envoy.AsksForLateScopes) < 0 {
				t.Skipf("SKIPPED: Envoy %s never asks for scopes if it has started without", version)
			}
		}
		application, c := start(t, "server", "application"), newControl(t)
		world := func(n int) *model.World {
			w := worldOf(model.Backend{Via: model.ViaReplicas, Endpoints: []model.Endpoint{application.Endpoint}})
			if n%2 == 1 {
				w.Gateway.Routes = model.Scoped
			}
			return w
		}
		c.serve(world(0))
		begin(c)
		streaming := make(chan string, 1)
		go func() { streaming <- c.user(t).send(http.MethodGet, "/stream/finish") }()
		underLoad(t, c, 4, func() {
			for n := range 20 {
				c.serve(world(n + 1))
				eventually(t, "the gateway has the state", c.settled)
				eventually(t, "new connections are served", func() bool {
					return slices.Contains([]string{"application"}, c.user(t).send(http.MethodPost, "/"))
				})
			}
		}).want(t, "application")
		c.user(t).send(http.MethodPost, "/open/finish")
		if got := <-streaming; got != "applicationapplication" {
			t.Errorf("the response that had begun is %q", got)
		}
	})
}
