package translator_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
)

// world has n services with one revision of one replica each.
func world(n int) *model.World {
	w := &model.World{Gateway: model.Gateway{HTTP: "127.0.0.1:8080", Local: "127.0.0.1:8081"}}
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		key, revision := model.Key{Namespace: "default", Name: name}, model.Key{Namespace: "default", Name: name + "-00001"}
		w.Routes = append(w.Routes, &model.Route{
			Key: key, Owner: model.Ref{Kind: "Service", Key: key}, Created: time.Unix(int64(i), 0),
			Rules: []model.Rule{{
				Hosts:      []string{name + ".default.localhost"},
				LocalHosts: []string{name + ".default", name + ".default.svc", name + ".default.svc.cluster.local"},
				Shares:     []model.Share{{Revision: revision, Percent: 100}},
			}},
		})
		w.Backends = append(w.Backends, &model.Backend{
			Revision: revision, Owner: model.Ref{Kind: "Revision", Key: revision}, Protocol: model.HTTP1, Via: model.ViaReplicas,
			Endpoints: []model.Endpoint{endpoint(i)},
		})
	}
	slices.SortFunc(w.Routes, func(a, b *model.Route) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(w.Backends, func(a, b *model.Backend) int { return a.Revision.Compare(b.Revision) })
	return w
}

// withTarget is w with route i sending its requests to backend j: a change of routes and of nothing else.
func withTarget(w *model.World, i, j int) *model.World {
	next, route := *w, *w.Routes[i]
	route.Rules = slices.Clone(route.Rules)
	route.Rules[0].Shares = []model.Share{{Revision: w.Backends[j%len(w.Backends)].Revision, Percent: 100}}
	next.Routes = slices.Clone(w.Routes)
	next.Routes[i] = &route
	return &next
}

// withEndpoint is w with another endpoint of backend i.
func withEndpoint(w *model.World, i, n int) *model.World {
	next, backend := *w, *w.Backends[i]
	backend.Endpoints = []model.Endpoint{endpoint(n)}
	next.Backends = slices.Clone(w.Backends)
	next.Backends[i] = &backend
	return &next
}

// withRoute is w with one route more, and its backend.
func withRoute(w *model.World, name string) *model.World {
	one := world(1)
	next, route, backend := *w, *one.Routes[0], *one.Backends[0]
	route.Key.Name, backend.Revision.Name = name, name+"-00001"
	route.Rules = []model.Rule{{Hosts: []string{name + ".default.localhost"},
		Shares: []model.Share{{Revision: backend.Revision, Percent: 100}}}}
	next.Routes = put(w.Routes, route.Key, &route, func(r *model.Route) model.Key { return r.Key })
	next.Backends = put(w.Backends, backend.Revision, &backend, func(b *model.Backend) model.Key { return b.Revision })
	return &next
}

var sizes = []int{100, 1_000, 10_000}

func BenchmarkTranslateFromNothing(b *testing.B) {
	for _, n := range sizes {
		w := world(n)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				translator.Translate(w, nil)
			}
		})
	}
}

// benchmarkChange measures Translate and Diff from one World to another.
func benchmarkChange(b *testing.B, change func(w *model.World) *model.World) {
	for _, n := range sizes {
		w := world(n)
		next := change(w)
		prev := translator.Translate(w, nil)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if set, _ := translator.Diff(prev, translator.Translate(next, prev)); len(set) == 0 {
					b.Fatal("the change changed nothing")
				}
			}
		})
	}
}

func BenchmarkOneRouteChanged(b *testing.B) {
	benchmarkChange(b, func(w *model.World) *model.World { return withTarget(w, len(w.Routes)/2, len(w.Routes)/2+1) })
}

// BenchmarkRouteForms is one route changed in either form; B/change is what a gateway is sent.
func BenchmarkRouteForms(b *testing.B) {
	for _, mode := range []model.RouteForm{model.Inline, model.Scoped} {
		for _, n := range sizes {
			w := world(n)
			w.Gateway.Routes = mode
			next := withTarget(w, n/2, n/2+1)
			prev := translator.Translate(w, nil)
			b.Run(fmt.Sprintf("%s/routes=%d", mode, n), func(b *testing.B) {
				b.ReportAllocs()
				sent := 0
				for b.Loop() {
					set, _ := translator.Diff(prev, translator.Translate(next, prev))
					sent = 0
					for _, r := range set {
						if r.Roles&translator.RoleGateway != 0 {
							sent += len(r.Body)
						}
					}
				}
				b.ReportMetric(float64(sent), "B/change")
			})
		}
	}
}

// BenchmarkCopyOfTheRoutes is the floor of BenchmarkOneRouteChanged: the gateway's RouteConfigurations copied, and nothing else.
func BenchmarkCopyOfTheRoutes(b *testing.B) {
	for _, n := range sizes {
		out := translator.Translate(world(n), nil)
		var bodies [][]byte
		for _, u := range out.Units {
			for _, r := range u.Resources {
				if r.Type == translator.RouteType && r.Roles == translator.RoleGateway {
					bodies = append(bodies, r.Body)
				}
			}
		}
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, body := range bodies {
					bytes.Join([][]byte{body}, []byte{})
				}
			}
		})
	}
}

func BenchmarkOneEndpointChanged(b *testing.B) {
	benchmarkChange(b, func(w *model.World) *model.World { return withEndpoint(w, len(w.Backends)/2, 1<<20) })
}

func BenchmarkOneRouteAdded(b *testing.B) {
	benchmarkChange(b, func(w *model.World) *model.World { return withRoute(w, "new") })
}

func BenchmarkNothingChanged(b *testing.B) {
	for _, n := range sizes {
		w := world(n)
		prev := translator.Translate(w, nil)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				next := translator.Translate(w, prev)
				translator.Diff(prev, next)
			}
		})
	}
}
