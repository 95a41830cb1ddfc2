package loops

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice.dev/sluice/autoscaler/schedule"
	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/crds/convert"
	"sluice.dev/sluice/model"
)

// stateOf returns what a schedule asks for at a moment, or what is wrong with it.
func stateOf(s *model.Schedule, now time.Time) (model.ScheduleState, error) {
	compiled, err := schedule.Compile(s)
	if err != nil || now.IsZero() {
		return model.ScheduleState{}, err
	}
	state := compiled.State(now)
	if !state.Until.IsZero() {
		state.Until = state.Until.In(compiled.Zone())
	}
	return state, nil
}

// CheckSchedule returns what is wrong with the schedule in the annotations of a template, one line each; nil for nothing.
func CheckSchedule(annotations map[string]string) error {
	s, err := convert.AnnotatedSchedule(annotations)
	if s == nil || err != nil {
		return err
	}
	if _, err = schedule.Compile(s); err == nil {
		return nil
	}
	var errs []error
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, fmt.Errorf("annotation %s: %s", autoscalingv1alpha1.ScheduleAnnotation, strings.TrimSpace(line)))
	}
	return errors.Join(errs...)
}
