package translator_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/rollout"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
	"sluice.dev/sluice/xds/client"
	"sluice.dev/sluice/xds/resource"
)

// opened is what a role has of an Output.
type opened map[string]map[string]proto.Message // by type URL and name

func open(t *testing.T, o *translator.Output, role uint8) opened {
	t.Helper()
	all := opened{}
	for id, r := range contents(t, o) {
		if r.Roles&role == 0 {
			continue
		}
		m, err := (&anypb.Any{TypeUrl: r.Type, Value: r.Body}).UnmarshalNew()
		if err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		if all[r.Type] == nil {
			all[r.Type] = map[string]proto.Message{}
		}
		if all[r.Type][r.Name] != nil {
			t.Fatalf("%s %q is there twice for role %d", r.Type, r.Name, role)
		}
		all[r.Type][r.Name] = m
	}
	return all
}

// walk visits a message and all below it, those inside every Any too.
func walk(t *testing.T, m protoreflect.Message, visit func(proto.Message)) {
	t.Helper()
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		walk(t, inner.ProtoReflect(), visit)
		return
	}
	visit(m.Interface())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { walk(t, v.Message(), visit); return true })
		case fd.IsMap() || fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				walk(t, v.List().Get(i).Message(), visit)
			}
		default:
			walk(t, v.Message(), visit)
		}
		return true
	})
}

var everyRole = []uint8{translator.RoleGateway, translator.RoleActivator, translator.RoleMesh}

// randomOutputs are translations of Worlds with conflicts, gaps and mistakes.
func randomOutputs(t *testing.T, stream uint64, check func(t *testing.T, all opened, role uint8)) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, stream))
		w := &model.World{Gateway: model.Gateway{HTTP: ":8080", Local: ":8081"}}
		for range 60 {
			w = change(r, w)
		}
		o := translator.Translate(w, nil)
		for _, role := range everyRole {
			check(t, open(t, o, role), role)
		}
	}
}

func TestPromise05EachClusterHasItsOwnEndpoints(t *testing.T) {
	clusters := 0
	randomOutputs(t, 50, func(t *testing.T, all opened, role uint8) {
		taken := map[string]string{}
		for name, m := range all[translator.ClusterType] {
			c := m.(*clusterv3.Cluster)
			assignment := name
			if s := c.GetEdsClusterConfig().GetServiceName(); s != "" {
				assignment = s
			}
			if other, ok := taken[assignment]; ok {
				t.Errorf("clusters %q and %q have one assignment, %q", name, other, assignment)
			}
			if taken[assignment] = name; all[translator.AssignmentType][assignment] == nil {
				t.Errorf("role %d has no assignment %q for cluster %q", role, assignment, name)
			}
			clusters++
		}
	})
	if clusters == 0 {
		t.Error("no clusters were looked at")
	}
}

func TestPromise14WhatIsInsideEveryAnyIsValid(t *testing.T) {
	insides := 0
	randomOutputs(t, 140, func(t *testing.T, all opened, _ uint8) {
		for typeURL, named := range all {
			for name, m := range named {
				walk(t, m.ProtoReflect(), func(m proto.Message) {
					insides++
					if v, ok := m.(interface{ ValidateAll() error }); ok && v.ValidateAll() != nil {
						t.Errorf("within %s %q: %v", typeURL, name, v.ValidateAll())
					}
					checkDeeper(t, name, m)
				})
			}
		}
	})
	if insides == 0 {
		t.Error("nothing was looked at")
	}
}

// checkDeeper is what the generated validation does not know.
func checkDeeper(t *testing.T, name string, m proto.Message) {
	t.Helper()
	switch m := m.(type) {
	case *routev3.WeightedCluster:
		sum := uint32(0)
		for _, c := range m.GetClusters() {
			sum += c.GetWeight().GetValue()
		}
		if sum != 100 && sum != 10_000 {
			t.Errorf("%q: weights sum to %d", name, sum)
		}
	case *matcherv3.RegexMatcher:
		if _, err := regexp.Compile(m.GetRegex()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	case *routev3.RouteConfiguration:
		taken := map[string]string{}
		for _, vh := range m.GetVirtualHosts() {
			for _, d := range vh.GetDomains() {
				if other, ok := taken[d]; ok {
					t.Errorf("%q: virtual hosts %q and %q both have domain %q", name, vh.GetName(), other, d)
				}
				taken[d] = vh.GetName()
			}
		}
	}
}

func TestPromise14ReferencesResolve(t *testing.T) {
	references := 0
	randomOutputs(t, 141, func(t *testing.T, all opened, role uint8) {
		for _, typeURL := range []string{translator.RouteType, translator.ScopedRouteType} {
			for name, m := range all[typeURL] {
				for _, cluster := range clustersIn(t, m) {
					// Activators look up which revision a host means, and take no clusters.
					if references++; role != translator.RoleActivator && all[translator.ClusterType][cluster] == nil {
						t.Errorf("role %d: routes %q lead to cluster %q, which is not there", role, name, cluster)
					}
				}
			}
		}
		for name, m := range all[translator.ScopedRouteType] {
			references++
			if routes := m.(*routev3.ScopedRouteConfiguration).GetRouteConfigurationName(); all[translator.RouteType][routes] == nil {
				t.Errorf("role %d: scope %q names routes %q, which are not there", role, name, routes)
			}
		}
		for name, m := range all[translator.ListenerType] {
			walk(t, m.(*listenerv3.Listener).ProtoReflect(), func(m proto.Message) {
				manager, ok := m.(*hcmv3.HttpConnectionManager)
				if !ok {
					return
				}
				references++
				if manager.GetScopedRoutes().GetScopedRds() != nil {
					return // that is all scopes there are
				}
				if routes := manager.GetRds().GetRouteConfigName(); all[translator.RouteType][routes] == nil {
					t.Errorf("role %d: listener %q names routes %q, which are not there", role, name, routes)
				}
			})
		}
	})
	if references == 0 {
		t.Error("no references were looked at")
	}
}

func clustersIn(t *testing.T, m proto.Message) (names []string) {
	t.Helper()
	walk(t, m.ProtoReflect(), func(m proto.Message) {
		switch m := m.(type) {
		case *routev3.WeightedCluster_ClusterWeight:
			names = append(names, m.GetName())
		case *routev3.RouteAction:
			if name := m.GetCluster(); name != "" {
				names = append(names, name)
			}
		}
	})
	return names
}

// TestPromise02NoShareBeforeARevisionWasReady takes Routes from plan to what a client gets: nothing that it is sent at any moment
// leads to a revision that had not been ready by then.
func TestPromise02NoShareBeforeARevisionWasReady(t *testing.T) {
	revisions := 0
	for seed := range 12 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { revisions += followDeployment(t, seed) })
	}
	if revisions == 0 {
		t.Error("no route led anywhere, so nothing was to be seen")
	}
}

// followDeployment returns to how many revisions the routes led.
func followDeployment(t *testing.T, seed int) int {
	var mu sync.Mutex
	wasReady, led, wrong := map[string]bool{}, map[string]bool{}, []string(nil)
	moved := make(chan resource.Progress, 1000)
	server := xds.New(xds.Options{Progress: func(p resource.Progress) { moved <- p }})
	address := serve(t, func(s *grpc.Server) { server.Register(s) })
	t.Cleanup(server.Close)
	c := client.New(client.Config{Target: fmt.Sprint(address.Host, ":", address.Port), NodeID: "g", Role: "gateway",
		Handler: func(u client.Update) error {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range u.Set {
				config := &routev3.RouteConfiguration{}
				if u.Type != translator.RouteType || proto.Unmarshal(r.Body, config) != nil {
					continue
				}
				for _, cluster := range clustersIn(t, config) {
					if led[cluster] = true; !wasReady[cluster] {
						wrong = append(wrong, cluster)
					}
				}
			}
			return nil
		}})
	c.Subscribe(translator.ClusterType, client.Wildcard)
	c.Subscribe(translator.AssignmentType, client.Wildcard)
	c.Subscribe(translator.RouteType, "http")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	defer func() { cancel(); <-done }()

	r := rand.New(rand.NewPCG(2, uint64(seed)))
	d := &deployment{now: time.Unix(1e9, 0), pinned: 1 + seed%4}
	var output *translator.Output
	for range 60 {
		d.step(r)
		w := d.world()
		mu.Lock()
		for _, revision := range d.revisions {
			if revision.WasReady {
				wasReady[revision.Key.String()] = true
			}
		}
		mu.Unlock()
		next := translator.Translate(w, output)
		set, removed := translator.Diff(output, next)
		seq := server.Apply(resource.Update{Set: asXDS(set), Removed: asXDS(removed)})
		output = next
		for arrived := false; !arrived; {
			select {
			case p := <-moved:
				arrived = p.Role == contract.RoleGateway && p.Clients > 0 && p.Seq == seq
			case <-time.After(2 * time.Minute):
				t.Fatalf("the client never has state %d", seq)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(wrong) > 0 {
		t.Errorf("routes were sent that lead to %v before these were ready", wrong)
	}
	return len(led)
}

func asXDS(in []*translator.Resource) (out []*resource.Resource) {
	for _, r := range in {
		out = append(out, (*resource.Resource)(r))
	}
	return out
}

// deployment is a Route that follows a Configuration whose revisions come, become ready or fail.
type deployment struct {
	revisions []*model.Revision
	current   []model.Rule
	served    []model.Target
	rollout   string
	now       time.Time
	pinned    int // the revision that the Route names, for a tag
}

func (d *deployment) key(i int) model.Key {
	return model.Key{Namespace: "default", Name: rollout.RevisionName("hello", int64(i))}
}

// ready is the newest revision that has been ready.
func (d *deployment) ready() model.Key {
	for _, r := range slices.Backward(d.revisions) {
		if r.WasReady {
			return r.Key
		}
	}
	return model.Key{}
}

func (d *deployment) step(r *rand.Rand) {
	d.now = d.now.Add(time.Second)
	if len(d.revisions) == 0 || r.IntN(4) == 0 {
		n := len(d.revisions) + 1
		d.revisions = append(d.revisions, &model.Revision{
			Key: d.key(n), Owner: "c", Service: "hello", Configuration: "hello", Generation: int64(n), Created: d.now,
			Ready: model.Condition{Type: model.Ready, Status: model.Unknown}, Protocol: model.HTTP1,
		})
		return
	}
	i := r.IntN(len(d.revisions))
	next := *d.revisions[i]
	next.Ready.Status = []model.Status{model.True, model.True, model.False}[r.IntN(3)]
	next.WasReady = next.WasReady || next.Ready.Status == model.True
	d.revisions[i] = &next
}

func (d *deployment) world() *model.World {
	n := int64(len(d.revisions))
	configuration := &model.Configuration{
		Key: model.Key{Namespace: "default", Name: "hello"}, UID: "c", Generation: n, Observed: n,
		LatestCreated: d.key(int(n)).Name, LatestReady: d.ready().Name,
	}
	plan := rollout.Route(rollout.RouteInput{
		Route: &model.RouteSpec{
			Key: configuration.Key, Generation: 1, Observed: 1, RolloutDuration: 5 * time.Second, Served: d.served, Rollout: d.rollout,
			Traffic: []model.Target{{Configuration: "hello", Latest: true, Percent: 100}, {Revision: d.key(d.pinned).Name, Tag: "pinned"}},
		},
		Configurations: []*model.Configuration{configuration}, Revisions: d.revisions,
		Current: d.current, Programmed: true, Now: d.now,
	})
	d.current, d.served, d.rollout = plan.Rules, plan.Traffic, plan.Rollout
	w := &model.World{Gateway: model.Gateway{HTTP: "127.0.0.1:8080"}}
	for _, r := range d.revisions { // also of those that are not ready: the data plane may have them beforehand
		w.Backends = append(w.Backends, &model.Backend{Revision: r.Key, Protocol: r.Protocol, Via: model.ViaReplicas})
	}
	w.Routes = []*model.Route{{Key: configuration.Key, Owner: model.Ref{Kind: "Route", Key: configuration.Key}, Rules: plan.Rules}}
	return w
}
