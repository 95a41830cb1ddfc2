package xds_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/xds"
)

func TestClientGetsWhatItNamesAndNoMore(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{})
		r.set(cluster("a", ""), cluster("b", ""), cluster("c", ""), endpoints("a", ""), endpoints("b", ""),
			listener("a", "a", ""), listener("b", "b", ""), routes("a", "a"), routes("b", "b"))
		c := r.connect(t, p, "mesh")
		for _, typeURL := range []string{xds.ListenerType, xds.RouteType, xds.ClusterType, xds.EndpointType} {
			c.subscribe(typeURL, "a")
			c.take(typeURL, "a")
		}
		r.set(cluster("b", "2"), endpoints("b", "2"), routes("b", "c"))
		c.quiet()
		c.subscribe(xds.EndpointType, "b")
		c.take(xds.EndpointType, "b")
	})
}

func TestRolesSeeOnlyWhatIsTheirs(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		r := serve(t, xds.Options{Settle: time.Nanosecond})
		theirs := map[string]*xds.Resource{}
		for role, bit := range map[string]uint8{"gateway": xds.RoleGateway, "activator": xds.RoleActivator, "any": xds.RoleMesh} {
			resource := endpoints("same", role)
			resource.Roles = bit
			theirs[role] = resource
		}
		r.set(theirs["gateway"], theirs["activator"], theirs["any"])
		for role, resource := range theirs {
			c := r.connect(t, p, role)
			c.subscribe(xds.EndpointType, "same")
			if got := c.take(xds.EndpointType, "same"); string(got.Set["same"]) != string(resource.Body) {
				t.Errorf("%s got another role's resource", role)
			}
		}
		// A resource that changes hands leaves those who had it.
		c := r.connect(t, p, "gateway")
		c.subscribe(xds.ClusterType)
		c.take(xds.ClusterType)
		shared := cluster("shared", "")
		r.set(shared)
		c.take(xds.ClusterType, "shared")
		narrowed := *shared
		narrowed.Roles = xds.RoleMesh
		r.set(&narrowed)
		if p == delta {
			c.gone(xds.ClusterType, "shared")
		} else {
			c.take(xds.ClusterType)
		}
	})
}
