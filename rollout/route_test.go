package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
)

func input(r *model.RouteSpec, c *model.Configuration, revisions ...*model.Revision) RouteInput {
	return RouteInput{Route: r, Configurations: []*model.Configuration{c}, Revisions: revisions, Now: epoch}
}

// wellFormed checks what every plan promises.
func wellFormed(t *testing.T, in RouteInput, plan RoutePlan) {
	t.Helper()
	for i, rule := range plan.Rules {
		sum := 0
		for _, s := range rule.Shares {
			r := find(in.Revisions, s.Revision)
			if r == nil || !r.WasReady && r.Ready.Status != model.True {
				t.Fatalf("rule %q gives %s a share, which has never been ready", rule.Tag, s.Revision)
			}
			if s.Percent < 1 {
				t.Fatalf("rule %q gives %s %d percent", rule.Tag, s.Revision, s.Percent)
			}
			sum += s.Percent
		}
		if len(rule.Shares) > 0 && sum != 100 {
			t.Fatalf("rule %q sums to %d: %v", rule.Tag, sum, rule.Shares)
		}
		if i > 0 && plan.Rules[i-1].Tag >= rule.Tag {
			t.Fatalf("rule %q comes after %q", rule.Tag, plan.Rules[i-1].Tag)
		}
	}
	if plan.Again < 0 || in.Route != nil && plan.Again > max(time.Second, in.Route.RolloutDuration) {
		t.Fatalf("wants to be planned again in %s, in a rollout of %s", plan.Again, in.Route.RolloutDuration)
	}
}

func TestRouteResolvesTargets(t *testing.T) {
	url := func(tag string) string { return "http://" + tag + "-hello.default.localhost" }
	for name, c := range map[string]struct {
		traffic []model.Target
		status  []model.Target
		rules   map[string][]model.Share
	}{
		"all to the latest ready revision": {
			[]model.Target{latest(100, "")},
			[]model.Target{{Revision: "hello-00003", Latest: true, Percent: 100}},
			map[string][]model.Share{"": shares("hello-00003", 100)},
		},
		"a split with tags": {
			[]model.Target{pin("hello-00001", 70, "stable"), latest(30, "canary")},
			[]model.Target{{Tag: "stable", Revision: "hello-00001", Percent: 70, URL: url("stable")},
				{Tag: "canary", Revision: "hello-00003", Latest: true, Percent: 30, URL: url("canary")}},
			map[string][]model.Share{
				"": shares("hello-00001", 70, "hello-00003", 30), "stable": shares("hello-00001", 100),
				"canary": shares("hello-00003", 100),
			},
		},
		"0 percent are there for their tag": {
			[]model.Target{pin("hello-00001", 100, ""), pin("hello-00002", 0, "old")},
			[]model.Target{{Revision: "hello-00001", Percent: 100}, {Tag: "old", Revision: "hello-00002", URL: url("old")}},
			map[string][]model.Share{"": shares("hello-00001", 100), "old": shares("hello-00002", 100)},
		},
		"the same target twice is merged": {
			[]model.Target{pin("hello-00001", 30, ""), latest(20, ""), pin("hello-00001", 50, "")},
			[]model.Target{{Revision: "hello-00001", Percent: 80}, {Revision: "hello-00003", Latest: true, Percent: 20}},
			map[string][]model.Share{"": shares("hello-00001", 80, "hello-00003", 20)},
		},
		"the status tells a name from the latest, the rule does not": {
			[]model.Target{pin("hello-00003", 40, ""), latest(60, "")},
			[]model.Target{{Revision: "hello-00003", Percent: 40}, {Revision: "hello-00003", Latest: true, Percent: 60}},
			map[string][]model.Share{"": shares("hello-00003", 100)},
		},
		"tags keep the order of the spec in the status": {
			[]model.Target{pin("hello-00002", 50, "z"), pin("hello-00001", 50, "a")},
			[]model.Target{{Tag: "z", Revision: "hello-00002", Percent: 50, URL: url("z")},
				{Tag: "a", Revision: "hello-00001", Percent: 50, URL: url("a")}},
			map[string][]model.Share{
				"": shares("hello-00001", 50, "hello-00002", 50), "a": shares("hello-00001", 100), "z": shares("hello-00002", 100),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(route(c.traffic...), config(3, "hello-00003"), revs(3)...)
			plan := Route(in)
			wellFormed(t, in, plan)
			check(t, "status.traffic", plan.Traffic, c.status)
			got := map[string][]model.Share{}
			for _, r := range plan.Rules {
				got[r.Tag] = r.Shares
			}
			check(t, "shares", got, c.rules)
			says(t, plan.Conditions, model.AllTrafficAssigned, model.True, "", "")
			says(t, plan.Conditions, model.IngressReady, model.Unknown, "Uninitialized", "Waiting for load balancer to be ready")
			says(t, plan.Conditions, model.CertificateProvisioned, model.True, "TLSNotEnabled", "external-domain-tls is not enabled")
		})
	}
}

func TestRouteHosts(t *testing.T) {
	local := model.TagShare{Tag: "v1", Revision: key("hello-00001")}
	spec := route(latest(100, ""), pin("hello-00001", 0, "v1"))
	plan := Route(input(spec, config(2, "hello-00002"), revs(2)...))
	check(t, "rules", plan.Rules, []model.Rule{
		{
			Hosts:      []string{"hello.default.localhost"},
			LocalHosts: []string{"hello.default", "hello.default.svc", "hello.default.svc.cluster.local"},
			Shares:     shares("hello-00002", 100), TagHeader: []model.TagShare{local},
		},
		{
			Tag: "v1", Hosts: []string{"v1-hello.default.localhost"},
			LocalHosts: []string{"v1-hello.default", "v1-hello.default.svc", "v1-hello.default.svc.cluster.local"},
			Shares:     shares("hello-00001", 100),
		},
	})
	check(t, "url, address", []string{plan.URL, plan.Address},
		[]string{"http://hello.default.localhost", "http://hello.default.svc.cluster.local"})

	in := input(spec, config(2, "hello-00002"), revs(2)...)
	in.Options = Options{Domain: "example.com", ClusterDomain: "corp", Scheme: "https", Port: 8443}
	plan = Route(in)
	check(t, "with options", []string{plan.URL, plan.Address, plan.Traffic[1].URL},
		[]string{"https://hello.default.example.com:8443", "http://hello.default.svc.corp", "https://v1-hello.default.example.com:8443"})

	spec.ClusterLocal = true
	plan = Route(input(spec, config(2, "hello-00002"), revs(2)...))
	if plan.URL != "http://hello.default.svc.cluster.local" || plan.Rules[0].Hosts != nil || plan.Rules[1].Hosts != nil {
		t.Errorf("cluster-local: URL %s, hosts %v %v, want none outside", plan.URL, plan.Rules[0].Hosts, plan.Rules[1].Hosts)
	}
	check(t, "tag's URL", plan.Traffic[1].URL, "http://v1-hello.default.svc.cluster.local")
	says(t, plan.Conditions, model.CertificateProvisioned, model.True, "TLSNotEnabled", "TLS is not enabled for cluster-local")
}

func TestBadTargetKeepsTheSplitBefore(t *testing.T) {
	pending, broken := rev("hello-00003", 3, model.Unknown), failed("hello-00004", 4, "boom")
	foreign := rev("other-00001", 1, model.True)
	foreign.Service = "other"
	empty := config(1, "")
	empty.Conditions = nil
	lost := config(1, "")
	lost.Conditions = []model.Condition{ready(model.False)}
	for name, c := range map[string]struct {
		configuration   *model.Configuration
		traffic         []model.Target
		status          model.Status
		reason, message string
	}{
		"missing revision": {nil, []model.Target{pin("nope", 100, "")}, model.False, "RevisionMissing",
			`Revision "nope" referenced in traffic not found.`},
		"missing configuration": {nil, []model.Target{{Configuration: "nope", Percent: 100}}, model.False,
			"ConfigurationMissing", `Configuration "nope" referenced in traffic not found.`},
		"pending revision": {nil, []model.Target{pin("hello-00003", 100, "")}, model.Unknown, "RevisionMissing",
			`Revision "hello-00003" is not yet ready.`},
		"failed revision": {nil, []model.Target{pin("hello-00004", 100, "")}, model.False, "RevisionMissing",
			`Revision "hello-00004" failed to become ready.`},
		"pending configuration": {empty, []model.Target{latest(100, "")}, model.Unknown, "RevisionMissing",
			`Configuration "hello" is waiting for a Revision to become ready.`},
		"failed configuration": {lost, []model.Target{latest(100, "")}, model.False, "RevisionMissing",
			`Configuration "hello" does not have any ready Revision.`},
		"latest ready has failed": {config(4, "hello-00004"), []model.Target{latest(100, "")}, model.False,
			"RevisionMissing", `Revision "hello-00004" failed to become ready.`},
		"latest ready is gone": {config(9, "hello-00009"), []model.Target{latest(100, "")}, model.False,
			"RevisionMissing", `Revision "hello-00009" referenced in traffic not found.`},
		"somebody else's revision": {nil, []model.Target{pin("other-00001", 100, "")}, model.False, "RevisionNotOwned",
			`Revision "other-00001" referenced in traffic does not belong to Service "hello".`},
		"one bad among good ones": {nil, []model.Target{latest(50, ""), pin("nope", 0, "x"), pin("hello-00001", 50, "")},
			model.False, "RevisionMissing", `Revision "nope" referenced in traffic not found.`},
		"a failure says more than what is pending": {nil, []model.Target{pin("hello-00004", 50, ""), pin("hello-00003", 50, "")},
			model.False, "RevisionMissing", `Revision "hello-00004" failed to become ready.`},
		"of what is pending the first": {empty, []model.Target{pin("hello-00003", 50, ""), latest(50, "")}, model.Unknown,
			"RevisionMissing", `Revision "hello-00003" is not yet ready.`},
		"of failures the last": {nil, []model.Target{pin("hello-00004", 50, ""), pin("nope", 50, "")}, model.False,
			"RevisionMissing", `Revision "nope" referenced in traffic not found.`},
		"a sum of 90": {nil, []model.Target{latest(90, "")}, model.Unknown, "Unknown",
			"Traffic targets sum to 90, want 100"},
		"no traffic at all": {nil, nil, model.Unknown, "Unknown", "Traffic targets sum to 0, want 100"},
		"more than everything": {nil, []model.Target{latest(150, ""), pin("hello-00001", -50, "")}, model.Unknown,
			"Unknown", "Traffic target 0 has 150 percent, want 0 to 100"},
		"a tag twice": {nil, []model.Target{latest(50, "a"), latest(50, "a")}, model.Unknown, "Unknown",
			`Multiple definitions for "a"`},
		"a tag that makes no host": {nil, []model.Target{latest(100, strings.Repeat("a", 60))}, model.False, "ErrorConfig",
			`invalid domain name "` + strings.Repeat("a",
				60) + `-hello.default.svc.cluster.local": every part between dots must be 1 to 63 lower-case letters, digits and inner ` +
				`dashes, there must be two parts or more, and the whole must have at most 253 characters`},
	} {
		t.Run(name, func(t *testing.T) {
			good := Route(input(route(pin("hello-00001", 70, "stable"), latest(30, "")), config(2, "hello-00002"), revs(2)...))
			spec := good.Of(route())
			spec.Traffic = c.traffic
			spec.Conditions = Conclude(append(slices.Clone(good.Conditions),
				model.Condition{Type: model.IngressReady, Status: model.True})...)
			configuration := c.configuration
			if configuration == nil {
				configuration = config(2, "hello-00002")
			}
			in := input(spec, configuration, append(revs(2), pending, broken, foreign)...)
			plan := Route(in)
			wellFormed(t, in, plan)
			says(t, plan.Conditions, model.AllTrafficAssigned, c.status, c.reason, c.message)
			says(t, plan.Conditions, model.Ready, c.status, c.reason, c.message)
			says(t, plan.Conditions, model.IngressReady, model.True, "", "")
			check(t, "rules stay", plan.Rules, good.Rules)
			check(t, "status.traffic stays", plan.Traffic, good.Traffic)
			check(t, "state stays", plan.Rollout, good.Rollout)
			if wantProblem := c.status == model.False; wantProblem != (len(plan.Problems) == 1) {
				t.Errorf("problems = %v", plan.Problems)
			}
			spec.Generation = 2
			says(t, Route(in).Conditions, model.IngressReady, model.Unknown, "IngressNotConfigured", "Ingress has not yet been reconciled.")
		})
	}
}

func TestNothingWasReadyYet(t *testing.T) {
	plan := Route(input(route(latest(100, "")), config(1, ""), rev("hello-00001", 1, model.Unknown)))
	if len(plan.Rules) != 1 || plan.Rules[0].Shares != nil || len(plan.Rules[0].Hosts) != 1 {
		t.Errorf("rules = %+v, want one with hosts and no shares", plan.Rules)
	}
	check(t, "status.traffic", plan.Traffic, []model.Target(nil))
	check(t, "URL", plan.URL, "http://hello.default.localhost")
}

func TestKeptSplitLeavesOutWhatIsGone(t *testing.T) {
	good := Route(input(route(pin("hello-00001", 60, "a"), pin("hello-00002", 30, ""), pin("hello-00003", 10, "c")),
		config(3, "hello-00003"), revs(3)...))
	in := input(good.Of(route(pin("nope", 100, ""))), config(3, "hello-00003"), revs(3)[1:]...)
	plan := Route(in)
	wellFormed(t, in, plan)
	check(t, "shares", plan.Rules[0].Shares, shares("hello-00002", 75, "hello-00003", 25))
	check(t, "tags", len(plan.Rules), 2)
}

func TestRouteIsReadyOnceProgrammed(t *testing.T) {
	in := input(route(latest(100, "")), config(1, "hello-00001"), revs(2)...)
	first := Route(in)
	in.Route = first.Of(in.Route)

	in.Current, in.Programmed = first.Rules, true
	done := Route(in)
	says(t, done.Conditions, model.Ready, model.True, "", "")

	// What was acknowledged is not what is planned now.
	in.Route = done.Of(in.Route)
	in.Configurations[0] = config(2, "hello-00002")
	says(t, Route(in).Conditions, model.Ready, model.Unknown, "Uninitialized", "Waiting for load balancer to be ready")

	// After a restart nothing is known, and nothing has changed.
	in.Configurations[0] = config(1, "hello-00001")
	in.Current, in.Programmed = nil, false
	says(t, Route(in).Conditions, model.Ready, model.True, "", "")
	in.Configurations[0] = config(2, "hello-00002")
	says(t, Route(in).Conditions, model.Ready, model.Unknown, "Uninitialized", "Waiting for load balancer to be ready")
}

func TestWithProblem(t *testing.T) {
	in := input(route(latest(100, "")), config(1, "hello-00001"), revs(1)...)
	in.Current, in.Programmed = Route(in).Rules, true
	p := model.Problem{Owner: model.Ref{Kind: "Route", Key: key("hello")}, Reason: "HostTaken", Message: "it is taken"}
	got := WithProblem(Route(in).Conditions, p)
	says(t, got, model.Ready, model.False, "HostTaken", "it is taken")
	says(t, got, model.IngressReady, model.False, "HostTaken", "it is taken")
	check(t, "conditions", len(got), 4)
}
