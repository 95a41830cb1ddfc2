package deployment

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/model"
)

// askedBy returns the count that a HorizontalPodAutoscaler, which may be nil, asks for, with the figures from which it does. It has none
// before the first round of Kubernetes' controller.
func askedBy(scaler *autoscalingv2.HorizontalPodAutoscaler) model.Proposal {
	if scaler == nil || scaler.Status.DesiredReplicas <= 0 {
		return model.Proposal{}
	}
	var figures []string
	for i := range scaler.Status.CurrentMetrics {
		if f := figure(&scaler.Status.CurrentMetrics[i], scaler.Spec.Metrics); f != "" {
			figures = append(figures, f)
		}
	}
	why := "it has no figures yet"
	if len(figures) > 0 {
		why = strings.Join(figures, ", ")
	}
	return model.Proposal{Signal: "the HorizontalPodAutoscaler", Replicas: int(scaler.Status.DesiredReplicas), Why: why}
}

// figure is one metric, with its target.
func figure(m *autoscalingv2.MetricStatus, specs []autoscalingv2.MetricSpec) string {
	switch {
	case m.Resource != nil && m.Resource.Current.AverageUtilization != nil:
		s := fmt.Sprintf("%s is at %d%% of the request", m.Resource.Name, *m.Resource.Current.AverageUtilization)
		if t := resourceTarget(specs, m.Resource.Name); t != nil && t.AverageUtilization != nil {
			s += fmt.Sprintf(" at a target of %d%%", *t.AverageUtilization)
		}
		return s
	case m.Resource != nil && m.Resource.Current.AverageValue != nil:
		s := fmt.Sprintf("%s is %s per replica", m.Resource.Name, m.Resource.Current.AverageValue)
		if t := resourceTarget(specs, m.Resource.Name); t != nil && t.AverageValue != nil {
			s += fmt.Sprintf(" at a target of %s", t.AverageValue)
		}
		return s
	case m.Pods != nil && m.Pods.Current.AverageValue != nil:
		return fmt.Sprintf("%s is %s per replica", m.Pods.Metric.Name, m.Pods.Current.AverageValue)
	}
	return ""
}

func resourceTarget(specs []autoscalingv2.MetricSpec, name corev1.ResourceName) *autoscalingv2.MetricTarget {
	for i := range specs {
		if r := specs[i].Resource; r != nil && r.Name == name {
			return &r.Target
		}
	}
	return nil
}

// remarks are the conditions of a HorizontalPodAutoscaler that the user should know, as sentences: it cannot scale, for example because
// no metrics-server runs, or it wants more replicas than max-scale allows. The replicas that run are not affected.
func remarks(scaler *autoscalingv2.HorizontalPodAutoscaler) []string {
	if scaler == nil {
		return nil
	}
	var said []string
	for _, c := range scaler.Status.Conditions {
		switch {
		case c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue && c.Reason == "TooManyReplicas":
			said = append(said, "The HorizontalPodAutoscaler would run more replicas than max-scale allows.")
		case c.Type != autoscalingv2.ScalingLimited && c.Status == corev1.ConditionFalse:
			said = append(said, fmt.Sprintf("The HorizontalPodAutoscaler does not scale (%s): %s", c.Reason, sentence(c.Message)))
		}
	}
	return said
}
