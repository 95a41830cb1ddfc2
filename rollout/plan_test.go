package rollout

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/model"
)

// objects are everything of one Service, or of a Configuration and a Route of their own: then Service is nil.
type objects struct {
	// Service, Configuration and Route may each be nil when there is none.
	Service       *model.Service
	Configuration *model.Configuration
	Route         *model.RouteSpec
	// Configurations are others that the Route names.
	Configurations []*model.Configuration
	// Revisions are those of the Configuration, and others that the Route names.
	Revisions []*model.Revision
	// Current and Programmed are as in RouteInput.
	Current    []model.Rule
	Programmed bool
	Now        time.Time
	Options    Options
}

// plans are what should become of them.
type plans struct {
	Service       ServicePlan
	Configuration ConfigurationPlan
	Route         RoutePlan
	// Retire are the revisions to delete.
	Retire []*model.Revision
	// Problems are those of all three.
	Problems []model.Problem
}

// planAll does in one step what the controllers of the kinds do one after another: it plans the Configuration, then the Route with the
// Configuration as planned, then the Service with both.
func planAll(in objects) plans {
	var out plans
	configurations := in.Configurations
	if in.Configuration != nil {
		out.Configuration = Configure(in.Configuration, in.Revisions)
		planned := out.Configuration.Of(in.Configuration)
		out.Retire = Retire(planned, in.Revisions, in.Options.Retention, in.Now)
		in.Configuration = planned
		configurations = append(slices.Clone(configurations), planned)
	}
	if in.Route != nil {
		out.Route = Route(RouteInput{
			Route: in.Route, Configurations: configurations, Revisions: in.Revisions,
			Current: in.Current, Programmed: in.Programmed, Now: in.Now, Options: in.Options,
		})
		in.Route = out.Route.Of(in.Route)
	}
	if in.Service != nil {
		out.Service = Service(ServiceInput{
			Service: in.Service, Configuration: in.Configuration, Route: in.Route, Revisions: in.Revisions,
		})
	}
	out.Problems = slices.Concat(out.Service.Problems, out.Configuration.Problems, out.Route.Problems)
	return out
}

// A Service from its first manifest to its second revision, with nothing but the plans written back.
func TestPlanCarriesAServiceThrough(t *testing.T) {
	in := objects{
		Service:       &model.Service{Key: key("hello"), UID: "s"},
		Configuration: config(1, ""), Route: route(latest(100, "")), Now: epoch,
	}
	step := func() plans {
		out := planAll(in)
		if name := out.Configuration.Create; name != "" {
			in.Revisions = append(in.Revisions, rev(name, in.Configuration.Generation, model.Unknown))
		}
		in.Configuration, in.Route = out.Configuration.Of(in.Configuration), out.Route.Of(in.Route)
		in.Service.Conditions, in.Current, in.Programmed = out.Service.Conditions, out.Route.Rules, true
		return out
	}
	out := step()
	check(t, "made", out.Configuration.Create, "hello-00001")
	says(t, out.Service.Conditions, model.Ready, model.Unknown, "", "")

	*in.Revisions[0] = *rev("hello-00001", 1, model.True)
	step()
	out = step()
	says(t, out.Service.Conditions, model.Ready, model.True, "", "")
	check(t, "served", out.Route.Rules[0].Shares, shares("hello-00001", 100))

	in.Configuration.Generation = 2
	step()
	out = step()
	says(t, out.Service.Conditions, model.Ready, model.Unknown, "", "")
	check(t, "served while the next starts", out.Route.Rules[0].Shares, shares("hello-00001", 100))

	*in.Revisions[1] = *rev("hello-00002", 2, model.True)
	step()
	out = step()
	says(t, out.Service.Conditions, model.Ready, model.True, "", "")
	check(t, "served in the end", out.Route.Rules[0].Shares, shares("hello-00002", 100))
}

// arbitrary makes an input of anything that could be in an API server, and more.
func arbitrary(next func(int) int) objects {
	statuses := []model.Status{model.True, model.False, model.Unknown, ""}
	names := []string{"hello-00001", "hello-00002", "hello-00003", "hello-00004", "other", ""}
	tags := []string{"", "", "", "a", "b", "c", "-"}
	in := objects{Now: epoch.Add(time.Duration(next(1000)-500) * time.Second), Programmed: next(2) == 0}
	for i := range next(5) {
		r := rev(names[next(len(names))], int64(next(6)), statuses[next(4)])
		r.WasReady = r.WasReady || next(3) == 0
		r.Routing = []model.RoutingState{"", model.RoutingActive, model.RoutingReserve, model.RoutingPending}[next(4)]
		r.UID = fmt.Sprint(i)
		// An API server has no two of a name.
		if find(in.Revisions, r.Key) == nil {
			in.Revisions = append(in.Revisions, r)
		}
	}
	if next(8) > 0 {
		in.Configuration = config(int64(next(5)), names[next(len(names))])
		in.Configuration.Conditions = []model.Condition{ready(statuses[next(4)])}
		if next(4) == 0 {
			in.Configuration.RevisionName = names[next(len(names))]
		}
	}
	if next(8) > 0 {
		in.Route = route()
		in.Route.RolloutDuration = time.Duration(next(200)-20) * time.Second
		in.Route.Traffic = arbitraryTraffic(next, names, tags)
		in.Route.Served = arbitraryTraffic(next, names, tags)
		in.Route.Rollout = arbitraryState(next, names, tags)
	}
	if next(3) > 0 {
		in.Service = &model.Service{Key: key("hello"), UID: []string{"s", "x"}[next(2)]}
	}
	return in
}

func arbitraryTraffic(next func(int) int, names, tags []string) (out []model.Target) {
	left := 100
	for range next(5) {
		p := next(left + 1)
		left -= p
		out = append(out, model.Target{
			Tag: tags[next(len(tags))], Revision: names[next(len(names))], Configuration: "hello", Latest: next(2) == 0, Percent: p,
		})
	}
	if next(8) > 0 && len(out) > 0 {
		out[0].Percent += left
	}
	return out
}

func arbitraryState(next func(int) int, names, tags []string) string {
	g := &gradual{}
	for range next(3) {
		c := &shift{Configuration: "hello", Tag: tags[next(len(tags))], Step: step{
			Start: int64(next(1 << 62)), Next: int64(next(1 << 62)), Duration: int64(next(1 << 40)), Size: next(20),
		}}
		for range next(4) {
			p := portion{names[next(len(names))], next(60)}
			c.Revisions = append(c.Revisions, p)
			c.Percent += p.Percent
		}
		g.Configurations = append(g.Configurations, c)
	}
	return g.String()
}

// keeps checks what holds of every plan: shares sum to 100, none is of a revision that was never ready, and the order
// of the input changes nothing.
func keeps(t *testing.T, in objects) {
	t.Helper()
	out := planAll(in)
	if in.Route != nil {
		wellFormed(t, RouteInput{Route: in.Route, Revisions: in.Revisions}, out.Route)
		sum := 0
		for _, p := range out.Route.Traffic {
			sum += p.Percent
		}
		if served := len(in.Route.Served) > 0 && cmp.Equal(out.Route.Traffic, in.Route.Served); len(out.Route.Traffic) > 0 &&
			sum != 100 && !served {
			t.Fatalf("status.traffic sums to %d: %v", sum, out.Route.Traffic)
		}
	}
	reversed := in
	reversed.Revisions = slices.Clone(in.Revisions)
	slices.Reverse(reversed.Revisions)
	if diff := cmp.Diff(out, planAll(reversed)); diff != "" {
		t.Fatalf("the order of revisions changes the plan:\n%s", diff)
	}
}

func TestPlanKeepsItsPromises(t *testing.T) {
	for seed := range uint64(5_000) {
		keeps(t, arbitrary(random(seed)))
	}
}

func FuzzPlan(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(binary.LittleEndian.AppendUint64(nil, seed*0x9e3779b97f4a7c15), `{"configurations":[]}`, 100)
	}
	f.Fuzz(func(t *testing.T, choices []byte, state string, percent int) {
		i := 0
		in := arbitrary(func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			i++
			return int((uint(choices[i%len(choices)])*257 + uint(i)*31) % uint(n))
		})
		if in.Route != nil && percent%2 == 0 {
			in.Route.Rollout = state
			in.Route.Traffic = append(in.Route.Traffic, latest(percent, ""))
		}
		keeps(t, in)
	})
}

func BenchmarkRoute(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("targets=%d", n), func(b *testing.B) {
			var traffic []model.Target
			for i := range n {
				traffic = append(traffic, pin(RevisionName("hello", int64(i+1)), 100/n, fmt.Sprintf("v%d", i)))
			}
			in := input(route(traffic...), config(int64(n), RevisionName("hello", int64(n))), revs(n)...)
			b.ReportAllocs()
			for b.Loop() {
				if plan := Route(in); len(plan.Rules) != n+1 {
					b.Fatalf("%d rules, want %d", len(plan.Rules), n+1)
				}
			}
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("revisions=%d", n), func(b *testing.B) {
			in := objects{
				Service: &model.Service{Key: key("hello"), UID: "s"}, Configuration: config(int64(n), RevisionName("hello", int64(n))),
				Route: route(latest(100, "")), Revisions: idle(n, time.Hour), Now: epoch,
			}
			b.ReportAllocs()
			for b.Loop() {
				if out := planAll(in); len(out.Route.Rules) != 1 {
					b.Fatalf("rules = %v", out.Route.Rules)
				}
			}
		})
	}
}
