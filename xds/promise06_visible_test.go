package xds_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/resource"
)

// rejectionList is what the server reports as rejected.
type rejectionList struct {
	mu     sync.Mutex
	newest []resource.Rejection
}

func (g *rejectionList) set(all []resource.Rejection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest = all
}

func (g *rejectionList) read() []resource.Rejection {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.newest
}

// names waits until just these are rejected.
func (g *rejectionList) names(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v are rejected", want), func() bool {
		var got []string
		for _, r := range g.read() {
			got = append(got, r.Name)
		}
		return cmp.Equal(got, want)
	})
}

func (g *rejectionList) shows(t *testing.T, want ...resource.Rejection) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("rejected is: %+v", g.read())
		}
	}()
	eventually(t, fmt.Sprintf("rejected is %+v", want), func() bool { return cmp.Equal(g.read(), want) })
}

func TestRejectionsAreVisibleWhileTheyLast(t *testing.T) {
	each(t, func(t *testing.T, p *protocol) {
		reported := &rejectionList{}
		r := serve(t, xds.Options{Settle: time.Nanosecond, Rejected: reported.set})
		r.set(endpoints("a", "1"))
		first := r.taking(t, p, "gateway", "1", "a")
		second := r.taking(t, p, "gateway", "2", "a")
		bad := endpoints("a", "bad")
		want := resource.Rejection{
			Role: contract.RoleGateway, Type: resource.EndpointType, Name: "a", Version: bad.Version,
			Text: "not this", Client: "1", Clients: 1,
		}
		r.set(bad)
		late := second.expect(resource.EndpointType, "a")
		first.nack(first.expect(resource.EndpointType, "a"), "not this")
		reported.shows(t, want)
		second.nack(late, "nor this")
		want.Clients, want.RolledBack = 2, true
		reported.shows(t, want)
		if got := r.Stats().Rejected; got != 1 {
			t.Errorf("%d names are counted as rejected, want 1", got)
		}

		second.cut()
		want.Clients = 1
		reported.shows(t, want)
		r.set(endpoints("a", "good"))
		first.expect(resource.EndpointType, "a")
		want.RolledBack = false // newer content is offered now
		reported.shows(t, want)
		r.set(endpoints("a", "better"))
		first.cut()
		reported.shows(t)
	})
}

func TestRejectionEnds(t *testing.T) {
	for name, end := range map[string]func(r *rig, c *raw){
		"with better content":         func(r *rig, c *raw) { r.set(endpoints("a", "good")); c.take(resource.EndpointType, "a") },
		"with the content before":     func(r *rig, c *raw) { r.set(endpoints("a", "1")) },
		"with the client":             func(_ *rig, c *raw) { c.cut() },
		"when the client lets go":     func(_ *rig, c *raw) { c.unsubscribe(resource.EndpointType, "a") },
		"when there is no such thing": func(r *rig, _ *raw) { r.Apply(resource.Update{Removed: []*resource.Resource{endpoints("a", "")}}) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, p *protocol) {
				reported := &rejectionList{}
				r := serve(t, xds.Options{Settle: time.Nanosecond, Rejected: reported.set})
				r.set(endpoints("a", "1"), endpoints("b", ""))
				c := r.taking(t, p, "gateway", "1", "a", "b")
				r.set(endpoints("a", "bad"))
				c.nack(c.expect(resource.EndpointType, "a"), "no")
				reported.names(t, "a")
				end(r, c)
				reported.shows(t)
				if got := r.Stats().Rejected; got != 0 {
					t.Errorf("%d names are counted as rejected, want none", got)
				}
			})
		})
	}
}

func TestReportedRejectionsAreBounded(t *testing.T) {
	const many = 1500
	reported := &rejectionList{}
	r := serve(t, xds.Options{Rejected: reported.set})
	var all []*resource.Resource
	for i := range many {
		all = append(all, endpoints(fmt.Sprintf("%04d", i), ""))
	}
	r.set(all...)
	c := r.connect(t, delta, "gateway")
	c.subscribe(resource.EndpointType)
	c.nack(c.next(), "all of it")
	eventually(t, "the first 1000 are reported", func() bool { return len(reported.read()) == 1000 && reported.read()[999].Name == "0999" })
	if got := r.Stats().Rejected; got != many {
		t.Errorf("%d are counted, want %d", got, many)
	}
	c.cut()
	reported.shows(t)
}
