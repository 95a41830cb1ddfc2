package proxy

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// cluster is a named group of endpoints. It lives as long as its name does; what may change hangs off atomic pointers, so
// that a request reads one version of each.
type Cluster struct {
	Name      string
	Stats     ClusterStats
	Config    atomic.Pointer[settings.Cluster]
	Endpoints atomic.Pointer[Assignment] // nil until it has been received
	// removed is set when the control plane has taken the cluster away and it only lingers.
	Removed atomic.Bool

	// mu guards zones, which requests do not look into: each host points at what it counts.
	mu       sync.Mutex
	zones    map[string]*zoneLoad
	reported struct { // the reporter's: what the last report said
		total uint64
		busy  bool
	}
}

// zone finds or makes the load of a zone.
func (c *Cluster) zone(name string) *zoneLoad {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.zones[name]
	if l == nil {
		l = &zoneLoad{}
		if c.zones == nil {
			c.zones = map[string]*zoneLoad{}
		}
		c.zones[strings.Clone(name)] = l
	}
	return l
}

// assign puts endpoints in force, and has what is sent to them counted.
func (c *Cluster) Assign(a *Assignment) {
	for i := range a.endpoints {
		if e := &a.endpoints[i]; e.load == nil {
			e.load = c.zone(e.Zone)
		}
	}
	c.Endpoints.Store(a)
}

// busy is whether requests run.
func (c *Cluster) Busy() bool { return c.Stats.RqActive.Load() > 0 }

// report adds the cluster's load to loads. Most clusters sleep, and are passed by: a request is active before it is counted in
// the total, and until its load is.
func (c *Cluster) Report(loads []Load, since func() time.Duration) []Load {
	total := c.Stats.RqTotal.Load()
	busy := c.Busy()
	if !busy && !c.reported.busy && total == c.reported.total {
		return loads
	}
	before := len(loads)
	defer func() { c.reported.total, c.reported.busy = total, busy || len(loads) > before }()
	c.mu.Lock()
	defer c.mu.Unlock()
	for zone, l := range c.zones {
		if r, ok := l.report(since); ok {
			r.Cluster, r.Zone = c.Name, zone
			loads = append(loads, r)
		}
	}
	return loads
}
