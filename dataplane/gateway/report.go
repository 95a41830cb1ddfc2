package gateway

import "sluice.dev/sluice/xds/client"

// load is the load of all clusters since the last call. A removed cluster is reported until its last requests have ended.
func (g *Gateway) load() []client.ClusterLoad {
	var loads []clusterLoad
	for c := range g.proxy.clusters.all {
		loads = c.report(loads, g.proxy.since)
	}
	g.mu.Lock()
	for c := range g.leaving {
		over := !c.busy()
		if loads = c.report(loads, g.proxy.since); over {
			delete(g.leaving, c)
		}
	}
	g.mu.Unlock()
	out := make([]client.ClusterLoad, len(loads))
	for i, l := range loads {
		out[i] = client.ClusterLoad{
			Cluster: l.cluster, Zone: l.zone, Issued: l.issued, Succeeded: l.succeeded, Failed: l.failed, InProgress: l.inProgress,
			Concurrency: l.concurrency, Streams: l.streams,
		}
	}
	return out
}
