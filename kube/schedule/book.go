package schedule

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	"sluice.dev/sluice/crds/convert"
	"sluice.dev/sluice/model"
)

// Evaluate returns what a schedule asks for at a moment. The error says in a line each what is wrong with it.
type Evaluate func(s *model.Schedule, now time.Time) (model.ScheduleState, error)

// Book keeps the values of ScalingSchedules.
type Book struct {
	evaluate Evaluate

	// Guarded by mu.
	mu    sync.Mutex
	pages map[model.Key]page
}

// page is one ScalingSchedule as it was read last.
type page struct {
	uid        string
	generation int64
	value      *model.Schedule
	err        error
}

// NewBook makes a Book. evaluate may be nil: then the Book has no schedule that is right.
func NewBook(evaluate Evaluate) *Book {
	if evaluate == nil {
		evaluate = func(*model.Schedule, time.Time) (model.ScheduleState, error) {
			return model.ScheduleState{}, errors.New("no schedule is followed here")
		}
	}
	return &Book{evaluate: evaluate, pages: map[model.Key]page{}}
}

// Value returns the value of a ScalingSchedule, the same one until it changes. The error says what is wrong with it.
func (b *Book) Value(s *autoscalingv1alpha1.ScalingSchedule) (*model.Schedule, error) {
	key := model.Key{Namespace: s.Namespace, Name: s.Name}
	b.mu.Lock()
	defer b.mu.Unlock()
	was, known := b.pages[key]
	if known && was.uid == string(s.UID) && was.generation == s.Generation {
		return was.value, was.err
	}
	now := page{uid: string(s.UID), generation: s.Generation}
	if now.value, now.err = convert.Schedule(s); now.err == nil {
		_, now.err = b.evaluate(now.value, time.Time{})
	}
	if now.err == nil && was.err == nil && reflect.DeepEqual(was.value, now.value) {
		now.value = was.value // what changed are the Services
	}
	if now.err != nil {
		now.value = nil
	}
	b.pages[key] = now
	return now.value, now.err
}

// Forget drops a ScalingSchedule that is gone.
func (b *Book) Forget(key model.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pages, key)
}

// Annotated returns the schedule in the annotations of a revision, nil when there is none that is right: the revision's condition has
// what is wrong.
func (b *Book) Annotated(annotations map[string]string) *model.Schedule {
	s, err := convert.AnnotatedSchedule(annotations)
	if s == nil || err != nil {
		return nil
	}
	if _, err := b.evaluate(s, time.Time{}); err != nil {
		return nil
	}
	return s
}

// Reasons of the condition Ready of a ScalingSchedule, and of its Events.
const (
	// ReasonInvalid is a schedule that is not followed.
	ReasonInvalid = "InvalidSchedule"
	// ReasonNoService is one that names a Service which does not exist. It is followed for the others.
	ReasonNoService = "ServiceMissing"
	// ReasonBoundsChanged is an Event: the schedule asks for other bounds.
	ReasonBoundsChanged = "BoundsChanged"
)

// Judge returns what a ScalingSchedule asks for now, and its condition Ready. missing are the Services that it names and that do not exist.
func (b *Book) Judge(s *autoscalingv1alpha1.ScalingSchedule, missing []string, now time.Time) (model.ScheduleState, model.Condition) {
	ready := model.Condition{Type: model.Ready, Status: model.True}
	value, err := b.Value(s)
	var state model.ScheduleState
	if err == nil {
		state, err = b.evaluate(value, now)
	}
	switch {
	case err != nil:
		ready.Status, ready.Reason = model.False, ReasonInvalid
		ready.Message = strings.ReplaceAll(err.Error(), "\n", "; ")
	case len(missing) > 0:
		ready.Reason, ready.Message = ReasonNoService, "There is no Service "+strings.Join(missing, ", ")+" in this namespace."
	}
	return state, ready
}

// Change says in a sentence what a ScalingSchedule asks for now; empty when it asks for the same as before.
func Change(was, is *autoscalingv1alpha1.ScalingScheduleStatus) string {
	if was.Active == is.Active && reflect.DeepEqual(was.MinReplicas, is.MinReplicas) && reflect.DeepEqual(was.MaxReplicas, is.MaxReplicas) {
		return ""
	}
	text := "No window is open"
	if is.Active != "" {
		text = "Open: " + is.Active
	}
	if is.MinReplicas != nil {
		text += fmt.Sprintf(", minReplicas %d", *is.MinReplicas)
	}
	if is.MaxReplicas != nil {
		text += fmt.Sprintf(", maxReplicas %d", *is.MaxReplicas)
	}
	if is.Until != "" {
		text += ", until " + is.Until
	}
	return text
}
