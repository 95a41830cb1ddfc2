package convert

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/model"
)

// maxScheduleAnnotation is the longest schedule in an annotation, in bytes: more than MaxItems entries need.
const maxScheduleAnnotation = 32 << 10

// Schedule returns the value of a ScalingSchedule. The error says which durations cannot be read; the schema accepts none of these.
func Schedule(s *autoscalingv1alpha1.ScalingSchedule) (*model.Schedule, error) {
	return scheduleOf(fmt.Sprintf("ScalingSchedule %q", s.Name), &s.Spec.ScheduleTimes)
}

// AnnotatedSchedule returns the schedule in the annotations of a template or revision, nil when there is none. The error says why it cannot
// be read. Whether its crons and its time zone are right is for others to say.
func AnnotatedSchedule(annotations map[string]string) (*model.Schedule, error) {
	const key = autoscalingv1alpha1.ScheduleAnnotation
	text, ok := annotations[key]
	if !ok || text == "" {
		return nil, nil
	}
	if len(text) > maxScheduleAnnotation {
		return nil, fmt.Errorf("annotation %s: it is longer than %d bytes", key, maxScheduleAnnotation)
	}
	var times autoscalingv1alpha1.ScheduleTimes
	if err := yaml.UnmarshalStrict([]byte(text), &times); err != nil {
		return nil, fmt.Errorf("annotation %s: want timeZone, lead and entries as in a ScalingSchedule: %w", key, err)
	}
	s, err := scheduleOf("annotation "+key, &times)
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", key, err)
	}
	return s, nil
}

func scheduleOf(name string, times *autoscalingv1alpha1.ScheduleTimes) (*model.Schedule, error) {
	out := &model.Schedule{Name: name, TimeZone: times.TimeZone}
	var errs []error
	read := func(field, text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is no duration such as 90m", field, text))
		}
		return d
	}
	if times.Lead != "" {
		out.Lead = new(read("lead", times.Lead))
	}
	for _, e := range times.Entries {
		entry := model.ScheduleEntry{Name: e.Name, Start: e.Start, End: e.End, Min: countOf(e.MinReplicas), Max: countOf(e.MaxReplicas)}
		if e.Duration != "" {
			entry.Duration = read("entry "+e.Name+": duration", e.Duration)
		}
		out.Entries = append(out.Entries, entry)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

func countOf(n *int32) *int {
	if n == nil {
		return nil
	}
	return new(int(*n))
}

// ScheduleStatus writes into the status of a ScalingSchedule what it asks for, in its time zone.
func ScheduleStatus(s *autoscalingv1alpha1.ScalingScheduleStatus, state model.ScheduleState) {
	s.Active, s.MinReplicas, s.MaxReplicas, s.Until = strings.Join(state.Active, ", "), small(state.Min), small(state.Max), ""
	if !state.Until.IsZero() {
		s.Until = state.Until.Format(time.RFC3339)
	}
}

func small(n *int) *int32 {
	if n == nil {
		return nil
	}
	return new(int32(*n))
}

// Selects says whether a ScalingSchedule names or selects a Service of its namespace. A selector that cannot be read selects none.
func Selects(s *autoscalingv1alpha1.ScalingSchedule, service metav1.Object) bool {
	if s.Spec.Selector == nil || slices.Contains(s.Spec.Services, service.GetName()) {
		return slices.Contains(s.Spec.Services, service.GetName())
	}
	selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(service.GetLabels()))
}
