package activator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/contract"
)

// hosts finds the revision of a request that does not name one. gRPC clients without a proxy choose a revision and add no
// headers that would tell: what is left is the host. Its route is followed as such a client follows it, a listener by the name
// of the host and the routes that it names, and of the route's revisions only those can be meant that activators stand for.
type hosts struct {
	heard         func() time.Time // since when the control plane can be heard, zero while it cannot
	follow, leave func(typeURL string, names ...string)

	mu      sync.Mutex
	byName  map[string]*host
	byRoute map[string]*host // by the name of the route configuration; several hosts of one have the same content
	max     int
}

// host is one host name and what its requests may lead to.
type host struct {
	name string

	// hosts' mutex guards these.
	config string // name of the route configuration; empty while it is not known
	routes []hostRoute
	used   time.Time
	known  chan struct{} // closed when routes are known
}

// hostRoute is the shares of the requests that have a header, or of all others.
type hostRoute struct {
	header, value string
	shares        []hostShare
}

type hostShare struct {
	name   revisionName
	weight uint32
}

var errUnknownHost = &refusal{404, contract.ReasonUnknownRevision, 0, "there is no such host, or it is not known yet"}

func newHosts(maximum int, heard func() time.Time, follow, leave func(string, ...string)) *hosts {
	return &hosts{heard: heard, follow: follow, leave: leave, byName: map[string]*host{}, byRoute: map[string]*host{}, max: maximum}
}

// find returns the routes of a host, which it waits for.
func (hs *hosts) find(ctx context.Context, name string) ([]hostRoute, error) {
	h := hs.get(name)
	if h == nil {
		return nil, errTooMany
	}
	hs.mu.Lock()
	known := h.known
	hs.mu.Unlock()
	if !hs.wait(ctx, known) {
		return nil, errUnknownHost
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if len(h.routes) == 0 {
		return nil, errUnknownHost
	}
	return h.routes, nil
}

// wait waits until a host is known, and tells whether it is. The patience with one that the control plane does not tell of begins
// anew when the control plane is heard again.
func (hs *hosts) wait(ctx context.Context, known <-chan struct{}) bool {
	arrived := time.Now()
	for {
		by := arrived.Add(silentPatience)
		if heard := hs.heard(); !heard.IsZero() {
			by = later(arrived, heard).Add(unknownPatience)
		}
		left := time.Until(by)
		if left <= 0 {
			return false
		}
		select {
		case <-known:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(min(left, unknownPatience)): // looks at the control plane again
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (hs *hosts) get(name string) *host {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.byName[name]
	if h == nil {
		if len(hs.byName) >= hs.max {
			return nil
		}
		h = &host{name: name, known: make(chan struct{})}
		hs.byName[name] = h
		hs.follow(resource.ListenerType, name)
	}
	h.used = time.Now()
	return h
}

// sweep forgets hosts without requests for so long.
func (hs *hosts) sweep(idle time.Duration) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for name, h := range hs.byName {
		if time.Since(h.used) < idle {
			continue
		}
		delete(hs.byName, name)
		hs.leave(resource.ListenerType, name)
		hs.release(h)
	}
}

// release lets go of a host's route configuration, if no other host has it.
func (hs *hosts) release(h *host) {
	config := h.config
	h.config = ""
	if config == "" {
		return
	}
	for _, other := range hs.byName {
		if other.config == config {
			hs.byRoute[config] = other
			return
		}
	}
	delete(hs.byRoute, config)
	hs.leave(resource.RouteType, config)
}

// setListener learns which route configuration a host has.
func (hs *hosts) setListener(name string, body []byte) error {
	l, api := &listenerv3.Listener{}, &hcmv3.HttpConnectionManager{}
	if err := proto.Unmarshal(body, l); err != nil {
		return err
	}
	if err := l.GetApiListener().GetApiListener().UnmarshalTo(api); err != nil {
		return fmt.Errorf("api_listener: %w", err)
	}
	config := api.GetRds().GetRouteConfigName()
	if config == "" {
		return errors.New("api_listener.rds has no route_config_name")
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.byName[name]
	if h == nil || h.config == config {
		return nil
	}
	hs.release(h)
	h.config = config
	if other := hs.byRoute[config]; other != nil && len(other.routes) > 0 {
		h.learn(other.routes)
		return nil
	}
	hs.byRoute[config] = h
	hs.follow(resource.RouteType, config)
	return nil
}

// setRoutes learns where the requests of some hosts go.
func (hs *hosts) setRoutes(config string, body []byte) error {
	m := &routev3.RouteConfiguration{}
	if err := proto.Unmarshal(body, m); err != nil {
		return err
	}
	var routes []hostRoute
	for _, vh := range m.GetVirtualHosts() {
		for _, r := range vh.GetRoutes() {
			if route, ok := hostRouteOf(r); ok {
				routes = append(routes, route)
			}
		}
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.byName {
		if h.config == config {
			h.learn(routes)
		}
	}
	return nil
}

// remove learns that a host does not exist. Its requests wait for a moment: it may just be appearing.
func (hs *hosts) remove(name string) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.byName[name]
	if h == nil {
		return
	}
	hs.release(h)
	h.routes = nil
	select {
	case <-h.known:
		h.known = make(chan struct{})
	default: // requests that wait already are to learn of it too if the host appears
	}
}

func (h *host) learn(routes []hostRoute) {
	h.routes = routes
	select {
	case <-h.known:
	default:
		close(h.known)
	}
}

func hostRouteOf(r *routev3.Route) (hostRoute, bool) {
	var route hostRoute
	switch headers := r.GetMatch().GetHeaders(); len(headers) {
	case 0:
	case 1:
		route.header = headers[0].GetName()
		route.value = headers[0].GetExactMatch() //nolint:staticcheck // what gRPC clients are sent, see translator
	default:
		return route, false
	}
	for _, c := range r.GetRoute().GetWeightedClusters().GetClusters() {
		namespace, name, _ := strings.Cut(c.GetName(), "/")
		if valid(namespace) && valid(name) && c.GetWeight().GetValue() > 0 {
			route.shares = append(route.shares, hostShare{revisionName{namespace, name}, c.GetWeight().GetValue()})
		}
	}
	return route, len(route.shares) > 0
}

// resolve is the revision that a request of this host is for. The client has chosen it already, by the same weights, and came
// here because activators stand for it; so it is one of those.
func (a *Activator) resolve(r *http.Request) (revisionName, error) {
	if !isGRPC(r) {
		return revisionName{}, errNoRevision
	}
	routes, err := a.hosts.find(r.Context(), r.Host)
	if err != nil {
		return revisionName{}, err
	}
	for _, route := range routes {
		if route.header == "" || r.Header.Get(route.header) == route.value {
			return a.choose(r.Context(), route.shares), nil
		}
	}
	return revisionName{}, errUnknownHost
}

func (a *Activator) choose(ctx context.Context, shares []hostShare) revisionName {
	if len(shares) == 1 {
		return shares[0].name
	}
	behind := make([]hostShare, 0, len(shares))
	for _, s := range shares {
		if r := a.revisions.get(s.name); r != nil && r.behindActivators(ctx) {
			behind = append(behind, s)
		}
	}
	if len(behind) == 0 {
		behind = shares
	}
	total := uint32(0)
	for _, s := range behind {
		total += s.weight
	}
	n := rand.Uint32N(total)
	for _, s := range behind {
		if n < s.weight {
			return s.name
		}
		n -= s.weight
	}
	return behind[0].name
}

// behindActivators tells whether requests of the revision are to come by activators. It waits for the control plane to say.
func (d *dispatcher) behindActivators(ctx context.Context) bool {
	patience, cancel := context.WithTimeout(ctx, unknownPatience)
	defer cancel()
	for {
		d.mu.Lock()
		o := d.outlook
		d.mu.Unlock()
		if o.answered {
			return o.behind
		}
		select {
		case <-o.changed:
		case <-patience.Done():
			return false
		}
	}
}
