package inspect

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"sluice.dev/sluice/xds/resource"
	"sluice.dev/sluice/xds/status"
)

var connected = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// edge is a gateway that rejected a version, and mesh a client that does not read.
func edge() status.Client {
	return status.Client{
		ID: "edge", Role: "gateway", Protocol: "delta", Service: "ads", Connected: connected, LagMillis: 1500, Acks: 3, Nacks: 1, Bytes: 40,
		Sequence: 2, Newest: 3, Silent: true,
		Types: map[string]status.Type{"cds": {Synced: 2, Stale: 1, NotSent: 1, Rejected: 1}, "lds": {Synced: 1}, "other": {Synced: 9}},
		Resources: []status.Resource{
			{TypeURL: resource.ClusterType, Name: "a", Version: "v1", State: status.Rejected,
				Rejection: &status.Rejection{Version: "v2", Text: " no\n"}},
			{TypeURL: resource.ListenerType, Name: "http", State: status.NotSent},
		},
	}
}

func mesh() status.Client {
	return status.Client{ID: "grpc", Role: "mesh", Protocol: "sotw", Service: "eds", Connected: connected, Unknown: true, LagMillis: 20}
}

func printed(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var out strings.Builder
	if err := write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func same(t *testing.T, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTableHasALineForEachClient(t *testing.T) {
	same(t, `
ID    ROLE     PROTOCOL  CONNECTED  LDS    CDS    ACKS  NACKS  LAG                   BYTES
edge  gateway  delta     1m05s      1/0/0  2/2/1  3     1      1.5s (silent)         40
grpc  mesh     sotw eds  1m05s      ?      ?      0     0      20ms (does not read)  0
`, printed(t, func(to io.Writer) error {
		return WriteTable(to, []status.Client{edge(), mesh()}, connected.Add(65*time.Second))
	}))
	same(t, "no client is connected\n", printed(t, func(to io.Writer) error { return WriteTable(to, nil, connected) }))
}

func TestResourcesOfAClientAreSortedAndRejectionsSaid(t *testing.T) {
	same(t, `
edge: gateway, delta, at state 2 of 3, lag 1.5s (silent), 3 acks, 1 nacks, 40 bytes
TYPE  NAME  VERSION  STATE
LDS   http  -        not sent
CDS   a     v1       rejected
CDS a in version v2 is rejected: no

grpc: mesh, sotw eds, at state 0 of 0, lag 20ms (does not read), 0 acks, 0 nacks, 0 bytes
TYPE  NAME  VERSION  STATE
`, printed(t, func(to io.Writer) error { return WriteClients(to, []status.Client{edge(), mesh()}) }))
}

func cluster(t *testing.T, name, stat string) *anypb.Any {
	t.Helper()
	a, err := anypb.New(&clusterv3.Cluster{Name: name, AltStatName: stat})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDumpIsYAMLBelowCommentsOrJSON(t *testing.T) {
	resources := edge().Resources
	resources[0].Content = cluster(t, "a", "")
	same(t, `
clusters:
# a: version v1, rejected in version v2: no
- name: a
listeners:
# http: not sent
`, printed(t, func(to io.Writer) error { return WriteDump(to, resources) }))
	text := printed(t, func(to io.Writer) error { return WriteDumpJSON(to, resources[:1]) })
	if !strings.Contains(text, "\"content\": {\n      \"name\": \"a\"\n    }") {
		t.Errorf("the content is not in\n%s", text)
	}
}

func TestDiffShowsBothContents(t *testing.T) {
	long := cluster(t, "a", strings.Repeat("x", 10))
	all := []Comparison{
		{Client: "grpc", Role: "mesh", Resources: 2},
		{Client: "edge", Role: "gateway", Resources: 3, Differences: []status.Difference{
			{Kind: status.Outdated, TypeURL: resource.ClusterType, Name: "a", Has: "v1", Wants: "v2", Before: cluster(t, "a", ""),
				After: long},
			{Kind: status.Denied, TypeURL: resource.ClusterType, Name: "b", Wants: "v2", Rejection: &status.Rejection{Text: "no"}},
			{Kind: status.Extra, TypeURL: resource.ClusterType, Name: "c", Has: "v1"},
		}},
	}
	same(t, `
grpc has all 2 resources that it asked for as they are offered to role mesh: no difference
edge differs in 3 of 3 resources from what is offered to role gateway

stale CDS a: has v1, should have v2
  --- has
  +++ offered
  @@ -1 +1,2 @@
  +alt_stat_name: xxxxxxxxxx
   name: a

rejected CDS b: has none, rejects v2
  the client says: no

extra CDS c: has v1, should have none
`, printed(t, func(to io.Writer) error { return WriteDiff(to, all) }))
	if !Differ(all) || Differ(all[:1]) {
		t.Error("Differ is wrong about whether something differs")
	}
}

func TestSelectionIsByTypeAndName(t *testing.T) {
	resources := edge().Resources
	for want, by := range map[string]struct {
		typeName string
		names    []string
	}{
		"a http": {}, "a": {typeName: "cds"}, "http": {names: []string{"http"}}, "": {typeName: "cds", names: []string{"http"}},
	} {
		keep, err := Select(by.typeName, by.names)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range resources {
			if keep(&resources[i]) {
				got = append(got, resources[i].Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%+v: got %v, want %s", by, got, want)
		}
	}
	if _, err := Select("clusters", nil); err == nil {
		t.Error("a type that there is not is taken")
	}
}

func TestNothingIsAnEmptyArray(t *testing.T) {
	same(t, "[]\n", printed(t, func(to io.Writer) error { return WriteJSON[status.Client](to, nil) }))
}

func TestErrorsOfTheServerAreSaidInItsWords(t *testing.T) {
	down := fmt.Errorf("asking: %w", grpcstatus.Error(codes.Unavailable, "refused"))
	if err := InWords(down); !errors.Is(err, errUnreachable) || err.Error() != "it cannot be reached (refused)" {
		t.Errorf("a server that is not there: %v", err)
	}
	early := fmt.Errorf("asking: %w", grpcstatus.Error(codes.FailedPrecondition, "waiting for the API"))
	if err := InWords(early); err.Error() != "waiting for the API" || Incomplete(early) != "waiting for the API" || Incomplete(down) != "" {
		t.Errorf("a server that has nothing yet: %v, %q, %q", err, Incomplete(early), Incomplete(down))
	}
	if plain := errors.New("plain"); !errors.Is(InWords(plain), plain) || InWords(nil) != nil {
		t.Error("another error is changed")
	}
}

func TestSpansAndListsAreShort(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"999ms": 999 * time.Millisecond, "59.9s": 59900 * time.Millisecond, "2m05s": 125 * time.Second,
		"26h03m": 26*time.Hour + 3*time.Minute,
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	if got := enumerate(strings.Split("l k j i h g f e d c b a a", " ")); got != "a, b, c, d, e, f, g, h, i, j, 2 more" {
		t.Errorf("twelve names are %q", got)
	}
	types := []string{"other", "eds", "lds", "another", "rds"}
	slices.SortFunc(types, byType)
	if got := strings.Join(types, " "); got != "lds rds eds another other" {
		t.Errorf("types are sorted %s", got)
	}
}
