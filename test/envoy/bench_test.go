package envoy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/address"
	"sluice.dev/sluice/test/realenvoy"
)

// fleet is a World of so many Services, each with a replica, one public host and three hosts within the cluster.
type fleet struct {
	world  *model.World
	server [2]model.Endpoint // of the two revisions of every Service
}

func (c *control) fleet(b *testing.B, services int, form model.RouteForm) *fleet {
	f := &fleet{world: &model.World{Gateway: model.Gateway{HTTP: c.gateway, Local: address.Free(b), Routes: form}}}
	for i, name := range []string{"blue", "green"} {
		f.server[i] = start(b, "server", name).Endpoint
	}
	for i := range services {
		f.world.Routes = append(f.world.Routes, f.route(i, 0))
		f.world.Backends = append(f.world.Backends, f.backend(revisionOf(i), f.server[0]))
	}
	f.world.Backends = append(f.world.Backends, f.backend(green, f.server[1]))
	slices.SortFunc(f.world.Backends, func(x, y *model.Backend) int { return x.Revision.Compare(y.Revision) })
	return f
}

// green is the other revision of every Service.
var green = model.Key{Namespace: "default", Name: "green-00001"}

func nameOf(i int) string        { return fmt.Sprintf("s%05d", i) }
func hostOf(i int) string        { return nameOf(i) + ".default.localhost" }
func revisionOf(i int) model.Key { return model.Key{Namespace: "default", Name: nameOf(i) + "-00001"} }

func (f *fleet) backend(revision model.Key, at model.Endpoint) *model.Backend {
	return &model.Backend{Revision: revision, Protocol: model.HTTP1, Endpoints: []model.Endpoint{at}}
}

func (f *fleet) route(i, which int) *model.Route {
	name := nameOf(i) + ".default"
	return &model.Route{Key: model.Key{Namespace: "default", Name: nameOf(i)}, Rules: []model.Rule{{
		Hosts: []string{hostOf(i)}, LocalHosts: []string{name, name + ".svc", name + ".svc.cluster.local"},
		Shares: []model.Share{{Revision: []model.Key{revisionOf(i), green}[which], Percent: 100}},
	}}}
}

// moved returns the World with the requests of one Service moved to the other revision, or back.
func (f *fleet) moved(i, which int) *model.World {
	next := *f.world
	next.Routes = slices.Clone(f.world.Routes)
	next.Routes[i] = f.route(i, which)
	f.world = &next
	return f.world
}

// ask returns who answers for a host.
func ask(b *testing.B, client *http.Client, gateway, host string) string {
	r, err := http.NewRequest(http.MethodGet, "http://"+gateway+"/", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Host = host
	response, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return string(text)
}

// percentiles reports the 50th and the 99th percentile of durations, in milliseconds.
func percentiles(b *testing.B, name string, all []time.Duration) {
	slices.Sort(all)
	at := func(p int) float64 { return float64(all[(len(all)-1)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(at(50), name+"-p50-ms")
	b.ReportMetric(at(99), name+"-p99-ms")
}

// cpu returns the CPU time that a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("skipped: no /proc to read processor times from")
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] {
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on all systems that Go supports
}

// resident returns the anonymous memory of a process, in bytes.
func resident(b *testing.B, pid int) float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib << 10)
		}
	}
	b.Skip("skipped: no RssAnon in /proc")
	return 0
}

func (c *control) sent() (bytes uint64) {
	for _, t := range c.server.Stats().Types {
		bytes += t.Bytes
	}
	return bytes
}

// BenchmarkChange moves the requests of one Service of many to another revision. It measures the time from the World to the first
// response, and Envoy's CPU time beyond that at rest. It also reports Envoy's start with so many Services, and its memory.
func BenchmarkChange(b *testing.B) {
	for _, form := range []model.RouteForm{model.Inline, model.Scoped} {
		for _, services := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("Envoy/%s/services=%d", form, services), func(b *testing.B) { benchmarkChange(b, form, services, true) })
			b.Run(fmt.Sprintf("built-in/%s/services=%d", form, services), func(b *testing.B) { benchmarkChange(b, form, services, false) })
		}
	}
}

func benchmarkChange(b *testing.B, form model.RouteForm, services int, real bool) {
	const changes = 50
	c := newControl(b)
	f := c.fleet(b, services, form)
	c.serve(f.world)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	pid, began := 0, time.Now()
	if real {
		_, pid = startEnvoy(b, realenvoy.Find(b), c, nil)
	} else {
		startBuiltIn(b, c)
	}
	for ask(b, client, c.gateway, hostOf(services-1)) != "blue" {
		time.Sleep(time.Millisecond)
	}
	started, startBytes := time.Since(began), c.sent()
	time.Sleep(5 * time.Second) // until Envoy has finished its start
	for b.Loop() {
		var taken []time.Duration
		rest, before, sent := time.Duration(0), time.Duration(0), c.sent()
		if real {
			rest = cpu(b, pid)
			time.Sleep(10 * time.Second)
			before = cpu(b, pid)
			rest = before - rest
		}
		first := time.Now()
		for range changes {
			i := rand.IntN(services)
			at := time.Now()
			c.serve(f.moved(i, 1))
			for ask(b, client, c.gateway, hostOf(i)) != "green" {
				time.Sleep(time.Millisecond)
			}
			taken = append(taken, time.Since(at))
			c.serve(f.moved(i, 0))
			for ask(b, client, c.gateway, hostOf(i)) != "blue" {
				time.Sleep(time.Millisecond)
			}
		}
		percentiles(b, "change", taken)
		b.ReportMetric(float64(c.sent()-sent)/(2*changes), "B/change")
		if real {
			spent := cpu(b, pid) - before - time.Duration(float64(rest)*time.Since(first).Seconds()/10)
			b.ReportMetric(float64(spent.Microseconds())/1000/(2*changes), "Envoy-cpu-ms/change")
			b.ReportMetric(100*rest.Seconds()/10, "Envoy-rest-%")
			b.ReportMetric(resident(b, pid)/float64(services)/1024, "Envoy-KiB/service")
		}
	}
	b.ReportMetric(float64(started.Milliseconds()), "start-ms")
	b.ReportMetric(float64(startBytes)/float64(services), "start-B/service")
}

// staticBootstrap configures an Envoy that sends all requests to one server, without a control plane.
const staticBootstrap = `
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 50000
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %s}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: static
          route_config: {virtual_hosts: [{name: all, domains: ["s00500.default.localhost"], routes: [{match: {prefix: /}, route: {cluster: server}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: server
    load_assignment: {cluster_name: server, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`

// contestant is a gateway that a benchmark sends requests through.
type contestant struct {
	name, address string
	pid           int // 0 if it is part of this process
	client        *http.Client
	taken         []time.Duration
	rates         []float64 // requests a second, by turn
	cpu           time.Duration
}

// BenchmarkRequests sends requests over 16 connections to one server: through an Envoy with a static configuration of one cluster, and
// through gateways that the control plane configures with 1,000 Services. They take turns of a second, so that other load on the
// machine is the same for all.
func BenchmarkRequests(b *testing.B) {
	const turns = 10
	all := []*contestant{staticEnvoy(b)}
	for _, form := range []model.RouteForm{model.Inline, model.Scoped} {
		real, builtIn := newControl(b), newControl(b)
		for _, c := range []*control{real, builtIn} {
			c.serve(c.fleet(b, 1000, form).world)
		}
		_, pid := startEnvoy(b, realenvoy.Find(b), real, nil)
		startBuiltIn(b, builtIn)
		all = append(all, &contestant{name: fmt.Sprintf("Envoy-%s", form), address: real.gateway, pid: pid},
			&contestant{name: fmt.Sprintf("built-in-%s", form), address: builtIn.gateway})
	}
	for _, c := range all {
		c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
		for ask(b, c.client, c.address, hostOf(500)) != "blue" {
			time.Sleep(time.Millisecond)
		}
	}
	for b.Loop() {
		for range turns {
			for _, c := range all {
				c.turn(b)
			}
		}
	}
	for _, c := range all {
		slices.Sort(c.rates)
		b.ReportMetric(c.rates[len(c.rates)/2], c.name+"-req/s")
		b.ReportMetric(100*c.rates[len(c.rates)/2]/all[0].rates[len(all[0].rates)/2], c.name+"-%-of-static")
		percentiles(b, c.name, c.taken)
		if c.pid > 0 {
			b.ReportMetric(float64(c.cpu.Microseconds())/float64(len(c.taken)), c.name+"-cpu-µs/req")
		}
	}
}

func staticEnvoy(b *testing.B) *contestant {
	c, at := newControl(b), start(b, "server", "blue").Endpoint
	_, pid := startEnvoy(b, realenvoy.Find(b), c, func(string) string {
		return fmt.Sprintf(staticBootstrap, c.gateway[strings.LastIndexByte(c.gateway, ':')+1:], at.Port)
	})
	return &contestant{name: "static", address: c.gateway, pid: pid}
}

// turn sends requests for a second.
func (c *contestant) turn(b *testing.B) {
	before := time.Duration(0)
	if c.pid > 0 {
		before = cpu(b, c.pid)
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	sent, end := 0, time.Now().Add(time.Second)
	for range 16 {
		group.Go(func() {
			var taken []time.Duration
			for at := time.Now(); at.Before(end); {
				if got := ask(b, c.client, c.address, hostOf(500)); got != "blue" {
					b.Errorf("%s: got %q", c.name, got)
					return
				}
				now := time.Now()
				taken, at = append(taken, now.Sub(at)), now
			}
			mu.Lock()
			defer mu.Unlock()
			sent, c.taken = sent+len(taken), append(c.taken, taken...)
		})
	}
	group.Wait()
	c.rates = append(c.rates, float64(sent))
	if c.pid > 0 {
		c.cpu += cpu(b, c.pid) - before
	}
}
