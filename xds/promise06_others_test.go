package xds_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

func TestNackMeansTheIndexThatItsTextGives(t *testing.T) {
	for name, text := range map[string]string{
		"grpc-js": "resource index 2: Error: cluster.type == LOGICAL_DNS requires exactly one locality",
		"C-core": "xDS response validation errors: [resource index 2: c: INVALID_ARGUMENT: errors validating Cluster resource: " +
			"[field:type]]",
		"out of": "resource index 99: what? resource index : none; resource index 2: yes",
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, p *protocol) {
				reported := &rejectionList{}
				r := serve(t, xds.Options{Rejected: reported.set})
				r.set(cluster("a", ""), cluster("b", ""), cluster("c", ""), cluster("d", ""))
				c := r.connect(t, p, "gateway")
				c.subscribe(resource.ClusterType)
				c.nack(c.next(), text)
				reported.names(t, "c")
			})
		})
	}
}

func TestNackWithoutTextMeansWhatIsNew(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		reported := &rejectionList{}
		r := serve(t, xds.Options{Rejected: reported.set})
		r.set(cluster("a", ""), cluster("b", ""))
		c := r.connect(t, p, "gateway")
		c.subscribe(resource.ClusterType)
		c.take(resource.ClusterType, "a", "b")
		r.set(cluster("b", "2"))
		c.nack(c.next(), "no")
		reported.names(t, "b")
		c.quiet() // nothing is left that it might acknowledge
	})
}

// A state-of-the-world client that NACKs a response takes nothing of it.
func TestOneBadResourceHoldsUpNoOther(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	one, two := cluster("a", ""), cluster("b", "")
	r.set(one, two)
	c := r.connect(t, sotw, "gateway")
	c.subscribe(resource.ClusterType)
	c.take(resource.ClusterType, "a", "b")

	r.set(cluster("a", "bad"), cluster("c", "bad too"), cluster("d", ""))
	c.nack(c.expect(resource.ClusterType, "a", "b", "c", "d"), "a, c: no")
	again := c.take(resource.ClusterType, "a", "b", "d")
	if !cmp.Equal(again.Set["a"], one.Body) {
		t.Error("a is not what the client accepted last")
	}
	c.quiet()
	r.set(cluster("b", "2"))
	again = c.take(resource.ClusterType, "a", "b", "d")
	if !cmp.Equal(again.Set["a"], one.Body) {
		t.Error("a is not what the client accepted last, after a change of another")
	}
	r.set(cluster("a", "good"))
	c.take(resource.ClusterType, "a", "b", "d")
	r.set(cluster("c", "good"))
	c.take(resource.ClusterType, "a", "b", "c", "d")
	c.quiet()
}

func TestOneBadListenerHoldsUpNoOther(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond, Wait: time.Hour})
	r.set(listener("a", "", ""), listener("b", "", ""))
	c := r.connect(t, sotw, "mesh")
	c.subscribe(resource.ListenerType)
	c.take(resource.ListenerType, "a", "b")
	r.set(listener("a", "", "bad"), listener("b", "", "2"), listener("c", "", ""))
	c.nack(c.expect(resource.ListenerType, "a", "b", "c"), "resource index 0: no")
	c.take(resource.ListenerType, "a", "b", "c")
	c.quiet()
}

// The server withholds more with each NACK, so a client that NACKs everything is sent nothing in the end.
func TestClientThatStillNacksGetsNothingUntilContentChanges(t *testing.T) {
	r := serve(t, xds.Options{Settle: time.Nanosecond})
	r.set(cluster("a", ""), cluster("b", ""), cluster("c", ""))
	c := r.connect(t, sotw, "gateway")
	c.subscribe(resource.ClusterType)
	c.nack(c.expect(resource.ClusterType, "a", "b", "c"), "a: no")
	c.nack(c.expect(resource.ClusterType, "b", "c"), "b: no")
	c.nack(c.expect(resource.ClusterType, "c"), "no")
	c.quiet()
	r.set(cluster("b", "2"))
	c.nack(c.expect(resource.ClusterType, "b"), "a: still no") // about a resource that it was not sent
	c.quiet()
	r.set(cluster("d", ""))
	c.nack(c.expect(resource.ClusterType, "d"), "no")
	c.quiet()
	r.set(cluster("a", "2"))
	c.take(resource.ClusterType, "a")
	c.quiet()
}
