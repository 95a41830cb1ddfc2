package install

import (
	"encoding/json"
	"fmt"
)

// panel is a chart of the dashboard.
type panel struct {
	title, unit string
	queries     []query
}

// query is PromQL with the name of each line.
type query struct{ expr, legend string }

// section is a row of panels.
type section struct {
	title  string
	panels []panel
}

// rate and quantile are the usual expressions. Grafana replaces $__rate_interval.
func rate(by, metric string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", by, metric)
}

func quantile(q float64, by, metric string) string {
	if by != "" {
		by = ", " + by
	}
	return fmt.Sprintf("histogram_quantile(%g, sum by (le%s) (rate(%s_bucket[$__rate_interval])))", q, by, metric)
}

// quantiles are the median and the 99th percentile of a histogram.
func quantiles(metric string) []query {
	return []query{{quantile(0.5, "", metric), "p50"}, {quantile(0.99, "", metric), "p99"}}
}

// ofRevision selects the revisions that the variables of the dashboard name.
const ofRevision = `{namespace=~"$namespace",revision=~"$revision"}`

func sections() []section { return append(dataSections(), controlSections()...) }

// dataSections are about requests and what serves them.
func dataSections() []section {
	return []section{
		{"Requests at the gateways", []panel{
			{"Requests by class", "reqps", []query{
				{rate("envoy_response_code_class", "envoy_http_downstream_rq_xx"), "{{envoy_response_code_class}}xx"},
			}},
			{"Time to the answer (Envoy)", "ms", quantiles("envoy_http_downstream_rq_time")},
			{"Connections", "short", []query{{"sum by (pod) (envoy_http_downstream_cx_active)", "{{pod}}"}}},
			{"Requests by revision", "reqps", []query{
				{rate("envoy_cluster_name", "envoy_cluster_upstream_rq_xx"), "{{envoy_cluster_name}}"},
			}},
			{"Answers 5xx by revision", "reqps", []query{
				{rate("envoy_cluster_name", `envoy_cluster_upstream_rq_xx{envoy_response_code_class="5"}`), "{{envoy_cluster_name}}"},
			}},
		}},
		{"Revisions", []panel{
			{"Replicas", "short", []query{
				{"sum by (revision) (sluice_autoscaler_desired_replicas" + ofRevision + ")", "{{revision}} wanted"},
				{"sum by (revision) (sluice_autoscaler_ready_replicas" + ofRevision + ")", "{{revision}} ready"},
			}},
			{"Load of the stable and of the panic window", "short", []query{
				{"sum by (revision) (sluice_autoscaler_stable_value" + ofRevision + ")", "{{revision}} stable"},
				{"sum by (revision) (sluice_autoscaler_panic_value" + ofRevision + ")", "{{revision}} panic"},
			}},
			{"Target of a replica", "short", []query{
				{"sum by (revision) (sluice_autoscaler_target_value" + ofRevision + ")", "{{revision}}"},
			}},
			{"In panic mode, and through activators", "short", []query{
				{"sum by (revision) (sluice_autoscaler_panic_mode" + ofRevision + ")", "{{revision}} panic"},
				{"sum by (revision) (sluice_autoscaler_by_activator" + ofRevision + ")", "{{revision}} activators"},
			}},
			{"Requests in replicas, and of them waiting", "short", []query{
				{"sum by (revision) (sluice_queue_in_flight" + ofRevision + ")", "{{revision}} in flight"},
				{"sum by (revision) (sluice_queue_waiting" + ofRevision + ")", "{{revision}} waiting"},
			}},
			{"Time in replicas, p99", "s", []query{
				{quantile(0.99, "revision", "sluice_queue_request_duration_seconds"), "{{revision}}"},
			}},
		}},
		{"Activators and cold starts", []panel{
			{"Cold starts", "reqps", []query{{"sum(rate(sluice_activator_cold_starts_total[$__rate_interval]))", "cold starts"}}},
			{"Time of a cold start", "s", quantiles("sluice_activator_cold_start_seconds")},
			{"Parts of cold starts, p50", "s", []query{{quantile(0.5, "part", "sluice_activator_cold_start_part_seconds"), "{{part}}"}}},
			{"Requests in activators, and of them waiting", "short", []query{
				{"sum by (pod) (sluice_activator_requests_in_flight)", "{{pod}} in flight"},
				{"sum by (pod) (sluice_activator_queue_depth)", "{{pod}} waiting"},
			}},
			{"Requests through activators", "reqps", []query{
				{"sum(rate(sluice_activator_dispatched_total[$__rate_interval]))", "answered"},
				{"sum(rate(sluice_activator_retried_total[$__rate_interval]))", "tried again"},
				{rate("reason", "sluice_activator_refused_total"), "refused: {{reason}}"},
			}},
		}},
	}
}

// controlSections are about the control plane and all processes.
func controlSections() []section {
	return []section{
		{"Control plane", []panel{
			{"Clients of the xDS server", "short", []query{{"sum by (role) (sluice_xds_clients)", "{{role}}"}}},
			{"Resources", "short", []query{{"sum by (type) (sluice_xds_resources)", "{{type}}"}}},
			{"Rejected resources", "short", []query{{"sum by (type) (sluice_xds_rejected_resources)", "{{type}}"}}},
			{"From a change to its acknowledgement", "s", quantiles("sluice_xds_acknowledgement_seconds")},
			{"Responses and NACKs", "ops", []query{
				{"sum(rate(sluice_xds_pushes_total[$__rate_interval]))", "responses"},
				{"sum(rate(sluice_xds_nacks_total[$__rate_interval]))", "NACKs"},
			}},
			{"Wrong ConfigMaps", "short", []query{{"max by (name) (sluice_configmap_invalid)", "{{name}}"}}},
		}},
		{"Processes", []panel{
			{"CPU", "short", []query{{rate("pod", "process_cpu_seconds_total"), "{{pod}}"}}},
			{"Memory, with Envoy's", "bytes", []query{
				{"sum by (pod) (process_resident_memory_bytes)", "{{pod}}"},
				{"sum by (pod) (envoy_server_memory_physical_size)", "{{pod}} Envoy"},
			}},
			{"Goroutines", "short", []query{{"sum by (pod) (go_goroutines)", "{{pod}}"}}},
		}},
	}
}

// Width and height of a panel in Grafana's grid of 24 columns.
const (
	panelWidth  = 8
	panelHeight = 8
	gridWidth   = 24
)

// Dashboard returns a dashboard of Grafana as JSON. It asks for the data source when it is imported.
func Dashboard() ([]byte, error) {
	var panels []any
	id, y := 0, 0
	next := func() int { id++; return id }
	for _, s := range sections() {
		panels = append(panels, map[string]any{
			"id": next(), "type": "row", "title": s.title, "collapsed": false, "panels": []any{},
			"gridPos": map[string]any{"x": 0, "y": y, "w": gridWidth, "h": 1},
		})
		y++
		x := 0
		for _, p := range s.panels {
			if x+panelWidth > gridWidth {
				x, y = 0, y+panelHeight
			}
			panels = append(panels, p.json(next(), x, y))
			x += panelWidth
		}
		y += panelHeight
	}
	text, err := json.MarshalIndent(map[string]any{
		"title": "Sluice", "uid": "sluice", "tags": []string{"sluice"}, "schemaVersion": 39, "version": 1, "editable": true,
		"refresh": "30s", "time": map[string]any{"from": "now-1h", "to": "now"}, "timezone": "browser", "graphTooltip": 1,
		"templating": map[string]any{"list": []any{
			map[string]any{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
			variable("namespace", "label_values(sluice_autoscaler_desired_replicas, namespace)"),
			variable("revision", `label_values(sluice_autoscaler_desired_replicas{namespace=~"$namespace"}, revision)`),
		}},
		"panels": panels,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the dashboard: %w", err)
	}
	return append(text, '\n'), nil
}

var dataSource = map[string]any{"type": "prometheus", "uid": "${datasource}"}

func (p panel) json(id, x, y int) map[string]any {
	var targets []any
	for i, q := range p.queries {
		targets = append(targets, map[string]any{
			"refId": string(rune('A' + i)), "datasource": dataSource, "expr": q.expr, "legendFormat": q.legend, "range": true,
		})
	}
	return map[string]any{
		"id": id, "type": "timeseries", "title": p.title, "datasource": dataSource, "targets": targets,
		"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit, "min": 0}, "overrides": []any{}},
		"gridPos":     map[string]any{"x": x, "y": y, "w": panelWidth, "h": panelHeight},
	}
}

func variable(name, values string) map[string]any {
	return map[string]any{
		"name": name, "type": "query", "datasource": dataSource, "query": values, "refresh": 2, "includeAll": true, "multi": true,
		"allValue": ".*", "current": map[string]any{"text": "All", "value": "$__all"}, "sort": 1,
	}
}
