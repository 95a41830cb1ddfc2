package install

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Monitoring is the name of the part with what the Prometheus operator and Grafana read.
const Monitoring = "monitoring"

const monitoringVersion = "monitoring.coreos.com/v1"

// Where the metrics are: of gateways on the page that both kinds have.
const (
	metricsPath = "/metrics"
	envoyPath   = "/stats/prometheus"
	adminName   = "admin"
	queueName   = "http-autometric" // port of the queue-proxy
)

// MonitoringObjects returns PodMonitors of all roles and of revisions, the alerts, and the dashboard.
func MonitoringObjects(o Options) ([]Object, error) {
	dashboard, err := Dashboard()
	if err != nil {
		return nil, err
	}
	board := &corev1.ConfigMap{
		TypeMeta: typeMeta("v1", "ConfigMap"), ObjectMeta: o.meta("sluice-dashboard", ""),
		Data: map[string]string{"sluice.json": string(dashboard)},
	}
	board.Labels["grafana_dashboard"] = "1" // by which the sidecar of Grafana's chart finds it
	return []Object{
		o.podMonitor(controller, honouring(endpoint(adminName, metricsPath))), o.podMonitor(activator, endpoint(adminName, metricsPath)),
		o.podMonitor(gateway, usedOnly(endpoint(adminName, envoyPath))),
		o.revisionMonitor(), o.rules(), board,
	}, nil
}

// endpoint is where Prometheus reads a pod.
func endpoint(port, path string) map[string]any {
	return map[string]any{"port": port, "path": path}
}

// honouring keeps the label namespace of a metric, which is that of a revision.
func honouring(at map[string]any) map[string]any {
	at["honorLabels"] = true
	return at
}

// usedOnly leaves out what has counted nothing: clusters without requests are not worth their bytes.
func usedOnly(at map[string]any) map[string]any {
	at["params"] = map[string]any{"usedonly": []any{""}}
	return at
}

func (o Options) custom(kind, name, role string, spec map[string]any) Object {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion(monitoringVersion)
	u.SetKind(kind)
	u.SetNamespace(o.Namespace)
	u.SetName(name)
	u.SetLabels(labels(role))
	return u
}

func (o Options) podMonitor(role string, at map[string]any) Object {
	selector := map[string]any{}
	for key, value := range labels(role) {
		selector[key] = value
	}
	return o.custom("PodMonitor", "sluice-"+role, role, map[string]any{
		"selector": map[string]any{"matchLabels": selector}, "podMetricsEndpoints": []any{at},
	})
}

// revisionMonitor reads the queue-proxies, wherever they are, and names their revisions.
func (o Options) revisionMonitor() Object {
	const revision = "serving.knative.dev/revision"
	at := endpoint(queueName, metricsPath)
	at["relabelings"] = []any{map[string]any{
		"sourceLabels": []any{"__meta_kubernetes_pod_label_serving_knative_dev_revision"}, "targetLabel": "revision", "action": "replace",
	}}
	exists := map[string]any{"key": revision, "operator": string(metav1.LabelSelectorOpExists)}
	return o.custom("PodMonitor", "sluice-revisions", "", map[string]any{
		"namespaceSelector":   map[string]any{"any": true},
		"selector":            map[string]any{"matchExpressions": []any{exists}},
		"podMetricsEndpoints": []any{at},
	})
}

// rules are the alerts as an object of the Prometheus operator.
func (o Options) rules() Object { return o.custom("PrometheusRule", "sluice", "", AlertRules()) }

// AlertRules are the alerts as Prometheus reads them from a file of rules.
func AlertRules() map[string]any {
	var rules []any
	for _, a := range Alerts() {
		rules = append(rules, map[string]any{
			"alert": a.Name, "expr": a.Expr, "for": a.For, "labels": map[string]any{"severity": a.Severity},
			"annotations": map[string]any{"summary": a.Summary, "description": a.Do},
		})
	}
	return map[string]any{"groups": []any{map[string]any{"name": "sluice", "rules": rules}}}
}
