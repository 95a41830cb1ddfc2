package policy

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/crds/convert"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// Schedules returns the schedules that the revision follows: that of its annotation, and those of its files that concern its Service.
// Whether their crons and time zones are right is for others to say.
func (p *Policy) Schedules() ([]*model.Schedule, error) {
	own, err := convert.AnnotatedSchedule(p.annotations)
	if err != nil || own == nil {
		return p.planned, err
	}
	return append([]*model.Schedule{own}, p.planned...), nil
}

// plans are the ScalingSchedules of the files.
type plans []*autoscalingv1alpha1.ScalingSchedule

func (p *plans) add(o *unstructured.Unstructured) error {
	s := &autoscalingv1alpha1.ScalingSchedule{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, s, true); err != nil {
		return fmt.Errorf("reading %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	if s.Namespace == "" {
		s.Namespace = "default"
	}
	*p = append(*p, s)
	return nil
}

// of returns those that concern a Service; it may be nil.
func (p plans) of(service *servingv1.Service) ([]*model.Schedule, error) {
	var out []*model.Schedule
	for _, s := range p {
		if service == nil || s.Namespace != service.Namespace || !convert.Selects(s, service) {
			continue
		}
		value, err := convert.Schedule(s)
		if err != nil {
			return nil, fmt.Errorf("ScalingSchedule %s: %w", s.Name, err)
		}
		out = append(out, value)
	}
	return out, nil
}
