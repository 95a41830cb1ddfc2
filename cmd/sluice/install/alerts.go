package install

// Alert is a rule of Prometheus that tells people of trouble.
type Alert struct {
	Name string
	// Expr is PromQL. The alert fires when it has had a result for For, a duration of Prometheus.
	Expr, For string
	// Severity is critical when requests fail or will soon, else warning.
	Severity string
	// Summary says what is wrong, and Do what to do about it. They may have templates of Prometheus.
	Summary, Do string
}

// Alerts are those of an installation.
func Alerts() []Alert {
	return append(controlAlerts(), requestAlerts()...)
}

// controlAlerts are about the control plane. What is known is served on, so most are warnings.
func controlAlerts() []Alert {
	return []Alert{
		{
			Name: "SluiceNoLeader", Expr: `absent(sluice_xds_sequence)`,
			For: "2m", Severity: "critical",
			Summary: "No controller leads: changes have no effect, and nothing scales.",
			Do: "See kubectl get lease -n sluice-system sluice-controller and the log of the controllers. If they run, see whether " +
				"Prometheus may reach port 9090 of their pods.",
		},
		{
			Name: "SluiceNoGateway", Expr: `sum(sluice_xds_clients{role="gateway"}) == 0`,
			For: "2m", Severity: "critical",
			Summary: "No gateway is connected to the control plane: gateways serve what they had, and new ones serve nothing.",
			Do:      "See the pods of the gateway and their logs, and whether their certificates are from the Secret sluice-xds-gateway.",
		},
		{
			Name: "SluiceNoActivator", Expr: `sum(sluice_xds_clients{role="activator"}) == 0`,
			For: "2m", Severity: "critical",
			Summary: "No activator is connected to the control plane: revisions without replicas cannot be woken.",
			Do:      "See the pods of the activator and their logs.",
		},
		{
			Name: "SluiceResourcesRejected", Expr: `sum by (type) (sluice_xds_rejected_resources) > 0`,
			For: "2m", Severity: "warning",
			Summary: "Clients reject {{ $value }} resources of the type {{ $labels.type }}, and serve what they had before.",
			Do:      "sluice xds diff says which ones, and what the client says is wrong.",
		},
		{
			Name: "SluiceClientsDenied", Expr: `sum by (role) (increase(sluice_xds_denied_total[10m])) > 0`,
			For: "5m", Severity: "warning",
			Summary: "Clients are turned away that want the role {{ $labels.role }}.",
			Do:      "The log of the leading controller names them and their certificates: give them the one of that role, or end them.",
		},
		{
			Name: "SluiceConfigurationInvalid", Expr: `max by (name) (sluice_configmap_invalid) == 1`,
			For: "1m", Severity: "warning",
			Summary: "The ConfigMap {{ $labels.name }} is wrong, and the data before it are in force.",
			Do:      "kubectl describe configmap -n sluice-system {{ $labels.name }} has an Event that says what is wrong.",
		},
		{
			Name:     "SluiceChangesSlow",
			Expr:     `histogram_quantile(0.99, sum by (le) (rate(sluice_xds_acknowledgement_seconds_bucket[10m]))) > 5`,
			For:      "10m",
			Severity: "warning",
			Summary:  "Changes take more than 5 s to reach all clients.",
			Do:       "sluice xds status shows which client is behind (LAG). See its CPU, and that of the leading controller.",
		},
	}
}

// requestAlerts are about requests.
func requestAlerts() []Alert {
	return []Alert{
		{
			Name: "SluiceErrors",
			Expr: `sum(rate(envoy_http_downstream_rq_xx{envoy_response_code_class="5"}[5m]))` +
				` / sum(rate(envoy_http_downstream_rq_xx[5m])) > 0.05`,
			For: "5m", Severity: "critical",
			Summary: "More than 5 % of the requests get an answer of the class 5xx from the gateways.",
			Do:      "The dashboard shows by revision who answers so. sluice explain SERVICE names the first broken link.",
		},
		{
			Name: "SluiceActivatorRefuses",
			Expr: `sum by (reason) (rate(sluice_activator_refused_total[5m]))` +
				` > 0.05 * scalar(sum(rate(sluice_activator_dispatched_total[5m])))` +
				` and sum by (reason) (rate(sluice_activator_refused_total[5m])) > 0.1`,
			For: "5m", Severity: "warning",
			Summary: "Activators refuse more than 5 % of their requests, because of {{ $labels.reason }}.",
			Do:      "Revisions may be at their maximum, or fail to start: see kubectl get revisions -A. docs/http.md has all reasons.",
		},
		{
			Name: "SluiceColdStartsSlow",
			Expr: `histogram_quantile(0.9, sum by (le) (rate(sluice_activator_cold_start_seconds_bucket[15m]))) > 10`,
			For:  "15m", Severity: "warning",
			Summary: "One in ten cold starts takes more than 10 s.",
			Do: "The dashboard shows the parts of cold starts: of start and ready, see the images and the nodes; of the others, the " +
				"activators and the leading controller.",
		},
		{
			Name: "SluiceRevisionShort",
			Expr: `sluice_autoscaler_desired_replicas > sluice_autoscaler_ready_replicas`,
			For:  "10m", Severity: "warning",
			Summary: "The revision {{ $labels.namespace }}/{{ $labels.revision }} has had fewer replicas than it needs for 10 minutes.",
			Do:      "kubectl describe revision says why: no room on nodes, a quota, a largest scale, or replicas that do not start.",
		},
	}
}
