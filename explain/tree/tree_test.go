package tree

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/explain"
)

func write(t *testing.T, e *explain.Explanation, colour bool) string {
	t.Helper()
	var out strings.Builder
	if err := Write(&out, e, colour); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func sample() *explain.Explanation {
	next := time.Date(2026, 11, 24, 12, 0, 5, 0, time.Local)
	return &explain.Explanation{
		Verdict: "Route default/hello is served, but not as asked: Revision default/hello-2 failed (ExitCode1): oh. Correct it",
		Broken: []explain.Link{
			{Message: "Revision default/hello-2 failed (ExitCode1): oh"}, {Message: "1 client of 3 (gateway b) keeps what it had"},
		},
		Service: &explain.Object{
			Name: "default/hello", Generation: 3, Observed: 2, Conditions: []explain.Condition{{Type: "Ready", Status: "False"}},
		},
		Configurations: []explain.Configuration{{
			Object: explain.Object{
				Name: "default/hello", Generation: 2, Observed: 2,
				Conditions: []explain.Condition{{Type: "Ready", Status: "False", Message: "said below"}},
			},
			LatestCreated: "hello-2", LatestReady: "hello-1",
		}},
		Route: &explain.Route{
			Object: explain.Object{Name: "default/hello", Generation: 1, Observed: 1, Conditions: []explain.Condition{
				{Type: "AllTrafficAssigned", Status: "False", Reason: "RevisionMissing", Message: "not\nready"},
				{Type: "Ready", Status: "False"},
			}},
			Targets: []explain.Target{
				{Revision: "hello-1", Tag: "old", Asked: 50, Given: []explain.Share{{Revision: "hello-1", Percent: 100}},
					Why: "not in force yet"},
				{Configuration: "hello", Asked: 50, Why: "Revision hello-2 failed (ExitCode1)"},
			},
			Rollouts: []explain.Rollout{{
				Configuration: "other", Shares: []explain.Share{{Revision: "other-1", Percent: 9}, {Revision: "other-2", Percent: 1}},
				Next: &next, Step: 3,
			}},
		},
		Revisions: []explain.Revision{
			{
				Object: explain.Object{Name: "default/hello-1"}, Percent: 100, Tags: []string{"old"}, Ready: "True", Desired: new(0),
				Actual: new(0), Scale: "0 replicas: there is no load",
				Cluster: &explain.Cluster{
					Name: "default/hello-1", Via: explain.ViaActivator, Why: "asleep", Zones: []explain.Zone{{
						Name:      "activator",
						Endpoints: []string{"1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3", "1.1.1.1:4", "1.1.1.1:5", "1.1.1.1:6", "1.1.1.1:7"},
					}},
				},
			},
			{Object: explain.Object{Name: "default/hello-2",
				Conditions: []explain.Condition{{Type: "ContainerHealthy", Status: "False", Reason: "ExitCode1", Message: "oh"},
					{Type: "Ready", Status: "False", Reason: "ExitCode1", Message: "oh"}}}, Ready: "False"},
			{Object: explain.Object{Name: "default/hello-3"}},
		},
		OtherRevisions: 1,
		Hosts: []explain.HostGroup{
			{Hosts: []string{"hello.default.localhost"}, URL: "http://hello.default.localhost",
				VirtualHost: &explain.VirtualHost{Name: "default/hello", Listener: "http", Address: "127.0.0.1:80",
					Clusters: []explain.Weight{{Cluster: "default/hello-1", Weight: 100}}}},
			{Hosts: []string{"hello.default", "hello.default.svc"}, Local: true,
				VirtualHost: &explain.VirtualHost{Name: "default/hello", Listener: "local", Address: "127.0.0.1:81",
					Clusters: []explain.Weight{{Cluster: "default/hello-1", Weight: 100}}}},
			{Hosts: []string{"old-hello.default.localhost"}, Tag: "old",
				Lost: []explain.Lost{{Host: "old-hello.default.localhost", Holder: "Route default/old-hello"}}},
			{Hosts: []string{"old-hello.default"}, Tag: "old", Local: true},
		},
		Clients: []explain.Client{
			{ID: "a", Role: "gateway", State: explain.StateInSync},
			{ID: "b", Role: "gateway", State: explain.StateRejects,
				Rejects: []explain.Rejection{{Type: "Cluster", Name: "default/hello-1", Text: "no"}}},
			{ID: "c", Role: "activator", State: explain.StateAside},
			{ID: "d", Role: "mesh", State: explain.StateBehind, BehindSeconds: 1.5, Behind: []string{"Listener hello.default"}},
		},
	}
}

const drawn = `Route default/hello is served, but not as asked: Revision default/hello-2 failed (ExitCode1): oh. Correct it.

Service default/hello  generation 3, not observed yet: the status is of generation 2
├─ Configuration default/hello  generation 2; hello-2 is not ready, latest ready is hello-1
└─ Route default/hello  generation 1
   ├─ AllTrafficAssigned False (RevisionMissing): not ready
   ├─ traffic
   │  ├─ asked 50 % to hello-1, tag old: given 100 %; not in force yet
   │  ├─ asked 50 % to the latest ready revision of hello: given nothing; Revision hello-2 failed (ExitCode1)
   │  └─ gradual rollout of other: 9 % to other-1, 1 % to other-2; 3 % more at 12:00:05
   ├─ Revision default/hello-1  100 %, tag old, ready, 0 replicas of 0 asked for
   │  ├─ autoscaler: 0 replicas: there is no load
   │  └─ cluster default/hello-1  through the activator: asleep
   │     └─ priority 0  zone activator  1.1.1.1:1, 1.1.1.1:2, 1.1.1.1:3, 1.1.1.1:4, 1.1.1.1:5, 1.1.1.1:6 and 1 more
   ├─ Revision default/hello-2  0 %, failed
   │  └─ ContainerHealthy False (ExitCode1): oh
   ├─ Revision default/hello-3  0 %, does not exist
   ├─ 1 more revision, without any of these requests
   ├─ hello.default.localhost  http://hello.default.localhost
   │  ├─ virtual host default/hello  listener http (127.0.0.1:80): 100 to cluster default/hello-1
   │  └─ also hello.default, hello.default.svc  listener local (127.0.0.1:81)
   ├─ old-hello.default.localhost
   │  └─ old-hello.default.localhost is Route default/old-hello's
   ├─ old-hello.default
   │  └─ no virtual host
   └─ clients
      ├─ gateway a  in sync
      ├─ gateway b  rejects
      │  └─ Cluster default/hello-1: no
      ├─ activator c  does not take it before a request comes
      └─ mesh d  behind for 1.5 s: Listener hello.default

Broken links
  1. Revision default/hello-2 failed (ExitCode1): oh.
  2. 1 client of 3 (gateway b) keeps what it had.
`

func TestTreeIsDrawn(t *testing.T) {
	if diff := cmp.Diff(drawn, write(t, sample(), false)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDomainMappingComesBeforeItsTarget(t *testing.T) {
	e := sample()
	e.DomainMapping = &explain.Object{
		Name: "default/www.example.com", Generation: 1, Observed: 1,
		Conditions: []explain.Condition{{Type: "CertificateProvisioned", Status: "False", Reason: "CertificateProvisionFailed",
			Message: "no"}},
	}
	got := write(t, e, false)
	mapping := strings.Index(got, "DomainMapping default/www.example.com  generation 1")
	condition := strings.Index(got, "CertificateProvisioned False (CertificateProvisionFailed): no")
	if service := strings.Index(got, "Service default/hello"); mapping < 0 || condition < mapping || service < condition {
		t.Errorf("got %s", got)
	}
}

func TestVerdictAloneIsPrintedWhereThereIsNothingElse(t *testing.T) {
	e := &explain.Explanation{Verdict: "no: There is no Service default/helo. Did you mean default/hello?", Broken: []explain.Link{{}}}
	if got := write(t, e, false); got != e.Verdict+"\n" {
		t.Errorf("got %q", got)
	}
}

func TestColoursAddNothingElse(t *testing.T) {
	coloured := write(t, sample(), true)
	if !strings.Contains(coloured, "\x1b[31m") || !strings.Contains(coloured, "\x1b[32m") {
		t.Errorf("no colours in %q", coloured)
	}
	for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[0m"} {
		coloured = strings.ReplaceAll(coloured, code, "")
	}
	if diff := cmp.Diff(drawn, coloured); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
