// Package monitoring checks the alerts and the dashboard with Prometheus' own parsers. It is a module of its own, so that Sluice does not
// depend on Prometheus.
package monitoring

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"sluice.dev/sluice/cmd/sluice/install"
)

const deploy = "../../deploy/monitoring/"

// promtool check rules does the same.
func TestPrometheusTakesTheAlerts(t *testing.T) {
	groups, errs := rulefmt.ParseFile(deploy+"alerts.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}),
		slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		return
	}
	n := 0
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			n++
			if r.Alert == "" || r.For == 0 || r.Labels["severity"] == "" {
				t.Errorf("rule %+v has no name, no time or no severity", r)
			}
			for _, text := range []string{r.Annotations["summary"], r.Annotations["description"]} {
				if !strings.HasSuffix(strings.TrimSpace(text), ".") {
					t.Errorf("%s: %q is no sentence", r.Alert, text)
				}
			}
		}
	}
	if n != len(install.Alerts()) {
		t.Errorf("Prometheus reads %d alerts of %d", n, len(install.Alerts()))
	}
}

func TestPrometheusTakesTheQueriesOfTheDashboard(t *testing.T) {
	text, err := os.ReadFile(deploy + "dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$revision", ".*")
	p, n := parser.NewParser(parser.Options{}), 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			n++
			if _, err := p.ParseExpr(fill.Replace(target.Expr)); err != nil {
				t.Errorf("%s: %s: %v", panel.Title, target.Expr, err)
			}
		}
	}
	if n == 0 {
		t.Error("the dashboard has no queries")
	}
}
