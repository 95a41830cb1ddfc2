package gateway

import (
	"sluice.dev/sluice/xds/client"
)

// load is the load of all clusters since the last call. A removed cluster is reported until its last requests have ended.
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
