package gateway

import (
	"fmt"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sluice.dev/sluice/dataplane/gateway/config"
	"sluice.dev/sluice/dataplane/gateway/proxy"
	"sluice.dev/sluice/dataplane/gateway/settings"
	"sluice.dev/sluice/xds/client"
)

func (g *Gateway) setClusters(u client.Update) error {
	var wanted []string
	err := each(u.Set, "cluster", func(r client.Resource) error {
		eds, err := g.setCluster(r)
		if eds != "" {
			wanted = append(wanted, eds)
		}
		return err
	})
	var gone []string
	for _, name := range u.Removed {
		if c := g.proxy.Clusters.Get(name); c != nil {
			g.removeCluster(c)
			gone = append(gone, g.leaveEndpoints(c, c.Config.Load())...)
		}
	}
	if len(gone) > 0 {
		g.client.Unsubscribe(resource.EndpointType, gone...)
	}
	if len(wanted) > 0 {
		g.client.Subscribe(resource.EndpointType, wanted...)
	}
	return err
}

// linger is how long a removed cluster still serves. A request that found its route before the removal may look for the cluster later.
const linger = 2 * time.Second

// removeCluster removes a cluster after linger, unless it has come back. Its load is reported until its last request has ended.
func (g *Gateway) removeCluster(c *proxy.Cluster) {
	c.Removed.Store(true)
	time.AfterFunc(linger, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if c.Removed.Load() && g.proxy.Clusters.Remove(c) && c.Busy() {
			g.leaving[c] = struct{}{}
		}
	})
}

// setCluster puts a cluster into force. It returns the endpoint assignment to subscribe to, or nothing if the cluster has that already.
func (g *Gateway) setCluster(r client.Resource) (string, error) {
	config, err := config.CompileCluster(r.Name, r.Version, r.Body)
	if err != nil {
		return "", err
	}
	if other := g.endpoints[config.EDS]; config.EDS != "" && other != nil && other.Name != r.Name {
		return "", fmt.Errorf("eds_cluster_config.service_name: %q is that of cluster %q; each cluster needs its own",
			config.EDS, other.Name)
	}
	c := g.proxy.Clusters.Get(r.Name)
	if c == nil {
		c = &proxy.Cluster{Name: r.Name}
	}
	old := c.Config.Swap(config)
	if old != nil && old.EDS != config.EDS {
		if gone := g.leaveEndpoints(c, old); len(gone) > 0 {
			g.client.Unsubscribe(resource.EndpointType, gone...)
		}
		c.Endpoints.Store(nil)
	}
	if config.Static != nil {
		c.Assign(proxy.NewAssignment(config.Static, nil))
	}
	c.Removed.Store(false)
	g.proxy.Clusters.Put(c)
	if config.EDS == "" || g.endpoints[config.EDS] == c {
		return "", nil
	}
	g.endpoints[config.EDS] = c
	return config.EDS, nil
}

// leaveEndpoints returns the endpoint assignment to unsubscribe from, if the cluster has one.
func (g *Gateway) leaveEndpoints(c *proxy.Cluster, config *settings.Cluster) []string {
	if config.EDS == "" || g.endpoints[config.EDS] != c {
		return nil
	}
	delete(g.endpoints, config.EDS)
	return []string{config.EDS}
}

// setEndpoints puts an endpoint assignment into force. The gateway keeps one that is removed while its cluster exists, as Envoy does.
func (g *Gateway) setEndpoints(r client.Resource) error {
	endpoints, err := config.CompileEndpoints(r.Name, r.Version, r.Body)
	if err != nil {
		return err
	}
	c := g.endpoints[r.Name]
	if c == nil {
		return nil
	}
	c.Assign(proxy.NewAssignment(endpoints, c.Endpoints.Load()))
	c.Stats.MembershipChange.Add(1)
	return nil
}

// load is the load of all clusters since the last call, with removed ones whose last requests still run.
func (g *Gateway) load() []client.ClusterLoad {
	loads := g.proxy.Report()
	g.mu.Lock()
	for c := range g.leaving {
		over := !c.Busy()
		if loads = c.Report(loads, g.proxy.Since); over {
			delete(g.leaving, c)
		}
	}
	g.mu.Unlock()
	out := make([]client.ClusterLoad, len(loads))
	for i, l := range loads {
		out[i] = client.ClusterLoad{
			Cluster: l.Cluster, Zone: l.Zone, Issued: l.Issued, Succeeded: l.Succeeded, Failed: l.Failed, InProgress: l.InProgress,
			Concurrency: l.Concurrency, Streams: l.Streams,
		}
	}
	return out
}
