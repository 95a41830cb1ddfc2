package proxy

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/dataplane/gateway/settings"
)

// Cluster is a named group of endpoints. It lives as long as its name; each request loads one version of Config and Endpoints.
type Cluster struct {
	Name string

	// By any goroutine.
	Stats     ClusterStats
	Config    atomic.Pointer[settings.Cluster]
	Endpoints atomic.Pointer[Assignment] // nil until one has come
	Removed   atomic.Bool                // the control plane has removed it; it still serves requests that are routed to it

	// Guarded by mu. Requests do not look into zones: each host points at the load that it counts in.
	mu    sync.Mutex
	zones map[string]*zoneLoad

	// Only by the goroutine that reports: RqTotal and Busy at the last report.
	reported struct {
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

// Assign puts endpoints into force. Requests to them count in the load of their zone.
func (c *Cluster) Assign(a *Assignment) {
	for i := range a.endpoints {
		if e := &a.endpoints[i]; e.load == nil {
			e.load = c.zone(e.Zone)
		}
	}
	c.Endpoints.Store(a)
}

// Busy is whether requests run.
func (c *Cluster) Busy() bool { return c.Stats.RqActive.Load() > 0 }

// Report appends the cluster's load since the last report to loads. It skips a cluster without requests, as most are. RqActive
// rises before RqTotal counts a request, and falls after its load has been counted.
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
