package feature

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"sluice.dev/sluice/cmd/sluice/admin"
	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/metrics"
	"sluice.dev/sluice/dataplane/activator"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/kube/configmap"
)

// names are the metrics and labels that a set of pages has.
type names map[string]bool

var (
	typeLine  = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	labelName = regexp.MustCompile(`[{,]([a-z_]+)="`)
	described = regexp.MustCompile(`fqName: "([^"]+)"`)
	// ours are the names in PromQL that are metrics or labels, and not functions. No label of Prometheus itself begins so.
	ours = regexp.MustCompile(`\b(?:sluice|envoy|go|process|kube|container)_[a-z0-9_]+`)
)

func (n names) add(metric string) {
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		n[metric+suffix] = true
	}
}

// page adds what a page of Prometheus' text format has.
func (n names) page(text string) {
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		n.add(m[1])
	}
	for _, m := range labelName.FindAllStringSubmatch(text, -1) {
		n[m[1]] = true
	}
}

// collector adds what a collector may have, whether or not it has counted anything yet.
func (n names) collector(c prometheus.Collector) {
	descriptions := make(chan *prometheus.Desc, 100)
	c.Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		n.add(described.FindStringSubmatch(d.String())[1])
	}
}

// missing are the names in PromQL that are not there.
func (n names) missing(expr string) []string {
	absent := map[string]bool{}
	for _, name := range ours.FindAllString(expr, -1) {
		if !n[name] {
			absent[name] = true
		}
	}
	return slices.Sorted(maps.Keys(absent))
}

// processes adds the metrics of the controller, the activator and the queue-proxy.
func (n names) processes(t *testing.T) {
	held, err := activator.New(activator.Options{XDS: "127.0.0.1:1", NodeID: "a", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	watcher, err := configmap.New(configmap.Options{Config: &rest.Config{}, Namespace: "a", Logger: hclog.NewNullLogger()})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []prometheus.Collector{
		held.Collector(), watcher, metrics.Scaling(nil), metrics.XDS(nil), metrics.NewDelivery(),
	} {
		n.collector(c)
	}
	families, err := admin.NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		n.add(f.GetName())
	}
	w := httptest.NewRecorder()
	queueproxy.New(queueproxy.Options{Target: "127.0.0.1:1"}).Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	n.page(w.Body.String())
}

// TestAlertsAndDashboardAskForMetricsThatExist compares with what gateways, the controller, the activator and the queue-proxy serve. A
// panel that names Envoy in its title may ask for what the built-in gateway lacks.
func TestAlertsAndDashboardAskForMetricsThatExist(t *testing.T) {
	onEachGateway(t, asksForMetricsThatExist)
}

func asksForMetricsThatExist(t *testing.T, g gateway) {
	s := g.up(t, "-f", absolute(t, "examples/hello"))
	s.ready("hello")
	if status, body, err := s.get(host, "/"); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	have := names{}
	have.processes(t)
	_, page, err := s.admined("/stats/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	have.page(page)
	for _, a := range install.Alerts() {
		if absent := have.missing(a.Expr); absent != nil {
			t.Errorf("the alert %s asks for %q, which nobody serves", a.Name, absent)
		}
	}
	text, err := install.Dashboard()
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			asked++
			absent := have.missing(target.Expr + target.LegendFormat)
			if absent != nil && (g.envoy != nil || !strings.Contains(p.Title, "Envoy")) {
				t.Errorf("the panel %q asks for %q, which nobody serves", p.Title, absent)
			}
		}
	}
	if asked < 20 || have.missing("sluice_no_such_metric > 0") == nil {
		t.Errorf("the test has looked at %d queries, and finds no wrong name", asked)
	}
}
