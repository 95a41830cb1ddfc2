package session

import (
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/xds/resource"
)

// A stream keeps nothing of removed resources for a client that subscribes to everything and never answers.
func TestSilentClientKeepsNothingOfWhatIsRemoved(t *testing.T) {
	d := newDesk(t)
	d.set()
	c := d.join(Delta, contract.RoleGateway)
	c.subscribe(resource.ClusterType)
	for i := range 100 {
		r := made(resource.ClusterType, fmt.Sprint(i), "1")
		d.set(r)
		c.act()
		for range 60 {
			d.pass(time.Second)
			c.act()
		}
		d.remove(r)
		c.act()
		for range 60 {
			d.pass(time.Second)
			c.act()
		}
	}
	if len(c.sent) < 200 {
		t.Errorf("%d responses were sent, want one for each change", len(c.sent))
	}
	w := c.watches[0]
	if n := len(w.items) + len(w.late) + len(w.fallback) + len(w.pendingRemoval) + len(w.inflight); n > 1 {
		t.Errorf("%d items, %d late, %d fallback, %d pending removal, %d in flight are kept of what is removed",
			len(w.items), len(w.late), len(w.fallback), len(w.pendingRemoval), len(w.inflight))
	}
}
