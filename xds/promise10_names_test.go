package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestClientGetsWhatItNamesAndNoMore(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""), cluster("b", ""), cluster("c", ""), endpoints("a", ""), endpoints("b", ""),
			listener("a", "a", ""), listener("b", "b", ""), routes("a", "a"), routes("b", "b"))
		c := r.connect(t, p, "mesh")
		for _, typeURL := range []string{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointType} {
			c.subscribe(typeURL, "a")
			c.take(typeURL, "a")
		}
		r.set(cluster("b", "2"), endpoints("b", "2"), routes("b", "c"))
		c.quiet()
		c.subscribe(resource.EndpointType, "b")
		c.take(resource.EndpointType, "b")
	})
}

func TestRolesSeeOnlyWhatIsTheirs(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		theirs := map[string]*resource.Resource{}
		for role, bit := range map[string]uint8{
			"gateway": contract.RoleGateway, "activator": contract.RoleActivator, "any": contract.RoleMesh,
		} {
			res := endpoints("same", role)
			res.Roles = bit
			theirs[role] = res
		}
		r.set(theirs["gateway"], theirs["activator"], theirs["any"])
		for role, res := range theirs {
			c := r.connect(t, p, role)
			c.subscribe(resource.EndpointType, "same")
			if got := c.take(resource.EndpointType, "same"); string(got.Set["same"]) != string(res.Body) {
				t.Errorf("%s got another role's resource", role)
			}
		}
		// A resource that changes its role is removed from the old one.
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType)
		shared := cluster("shared", "")
		r.set(shared)
		c.take(resource.ClusterType, "shared")
		narrowed := *shared
		narrowed.Roles = contract.RoleMesh
		r.set(&narrowed)
		if p == delta {
			c.gone(resource.ClusterType, "shared")
		} else {
			c.take(resource.ClusterType)
		}
	})
}
