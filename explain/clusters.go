package explain

import (
	"cmp"
	"fmt"
	"slices"

	"sluice.dev/sluice/contract"
)

// cluster describes how gateways reach a revision; nil when that is unknown or there is no cluster.
func (c *chain) cluster(revision string) *Cluster {
	name := c.key(revision).String()
	if !c.Views.Offered.Clusters[name] {
		return nil
	}
	out := &Cluster{Name: name, Via: ViaNobody, Zones: slices.Clone(c.Views.Offered.Assignments[name])}
	if out.Zones == nil {
		out.Zones = []Zone{}
	}
	slices.SortStableFunc(out.Zones, func(a, b Zone) int { return cmp.Compare(a.Priority, b.Priority) })
	if len(out.Zones) > 0 {
		switch out.Zones[0].Name {
		case contract.ZoneActivator:
			out.Via = ViaActivator
		default:
			out.Via = ViaReplicas
		}
	}
	out.Why = why(out, c.revisions[revision])
	return out
}

// why says why requests take the way that they take.
func why(cluster *Cluster, r *RevisionState) string {
	ready := endpoints(cluster.Zones, contract.ZonePods)
	behind := endpoints(cluster.Zones, contract.ZoneActivator)
	switch {
	case cluster.Via == ViaNobody:
		return "no replica is ready and no activator is connected"
	case cluster.Via == ViaReplicas && behind == 0:
		return fmt.Sprintf("%s; no activator is connected to stand in for them", count(ready, "replica is ready", "replicas are ready"))
	case cluster.Via == ViaReplicas:
		return fmt.Sprintf("%s, with room for a burst; activators stand in when they are gone",
			count(ready, "replica is ready", "replicas are ready"))
	case ready > 0:
		return count(ready, "replica is ready", "replicas are ready") + stays(r)
	case r != nil && r.Desired == 0:
		return "asleep: no replica runs, and the first request starts one"
	case r != nil && r.Desired > 0:
		return fmt.Sprintf("%s asked for, none is ready yet: the activator holds requests until one is",
			count(r.Desired, "replica is", "replicas are"))
	}
	return "no replica is ready"
}

// stays says why an activator stays in the path although replicas are ready.
func stays(r *RevisionState) string {
	switch {
	case r != nil && r.BurstCapacity == "-1":
		return "; target-burst-capacity -1 keeps the activator in the path"
	case r != nil && r.Unguarded && r.BurstCapacity == "":
		return "; without queue-proxies only the activator enforces containerConcurrency, so it stays in the path"
	}
	return ", with too little room for a burst (target-burst-capacity): the activator holds requests that find no slot"
}

func endpoints(zones []Zone, name string) int {
	z, _ := find(zones, func(z Zone) bool { return z.Name == name })
	return len(z.Endpoints)
}
