package convert

import (
	"fmt"
	"strconv"
	"time"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// maxStreamDrain is the longest that streams may go on, in seconds: an hour.
const maxStreamDrain = 3600

// Scaled returns what the autoscaler must know of a Revision. The Revision's status is the state before a restart.
func Scaled(r *servingv1.Revision) model.Scaled {
	v, spec := Revision(r), r.Effective()
	s := model.Scaled{
		Revision: v.Key, UID: v.UID, Annotations: r.Annotations,
		Configuration: model.Key{Namespace: v.Key.Namespace, Name: v.Configuration},
		Concurrency:   int(*spec.ContainerConcurrency), ProgressDeadline: v.ProgressDeadline,
		Unreachable: v.Routing == model.RoutingReserve,
		Before:      model.Before{Replicas: model.UnknownReplicas, Initialized: v.WasReady},
	}
	s.Source, _ = metricsSource(r.Annotations)
	if n := r.Status.DesiredReplicas; n != nil {
		s.Before.Replicas = int(*n)
	}
	if c := r.Status.Condition(model.Active); c != nil {
		s.Before.Active, s.Before.Since = model.Status(c.Status), c.LastTransitionTime.Time
	}
	return s
}

func metricsSource(annotations map[string]string) (model.MetricsSource, error) {
	switch value := annotations[servingv1.MetricsSourceAnnotation]; model.MetricsSource(value) {
	case "", model.FromQueueProxy:
		return model.FromQueueProxy, nil
	case model.FromEnvoy:
		return model.FromEnvoy, nil
	default:
		return model.FromQueueProxy, fmt.Errorf("annotation %s is %q, want %s or %s",
			servingv1.MetricsSourceAnnotation, value, model.FromQueueProxy, model.FromEnvoy)
	}
}

// streamDrain is how long streams may go on. Without the annotation, and with an error, it is the timeout of a request.
func streamDrain(r *servingv1.Revision) (time.Duration, error) {
	timeout := seconds(r.Effective().TimeoutSeconds)
	value := r.Annotations[servingv1.StreamDrainAnnotation]
	if value == "" {
		return timeout, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > maxStreamDrain {
		return timeout, fmt.Errorf("annotation %s is %q, want a whole number of seconds from 0 to %d",
			servingv1.StreamDrainAnnotation, value, maxStreamDrain)
	}
	return time.Duration(n) * time.Second, nil
}
