package convert

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

func TestScheduleInAnAnnotationIsLikeTheKind(t *testing.T) {
	times := autoscalingv1alpha1.ScheduleTimes{TimeZone: "Europe/Berlin", Lead: "2m", Entries: []autoscalingv1alpha1.ScheduleEntry{
		{Name: "office", Start: "0 8 * * 1-5", End: "0 18 * * 1-5", MinReplicas: new(int32(10))},
		{Name: "night", Start: "0 22 * * *", Duration: "8h30m", MaxReplicas: new(int32(2))},
	}}
	want := &model.Schedule{Name: `ScalingSchedule "s"`, TimeZone: "Europe/Berlin", Lead: new(2 * time.Minute),
		Entries: []model.ScheduleEntry{
			{Name: "office", Start: "0 8 * * 1-5", End: "0 18 * * 1-5", Min: new(10)},
			{Name: "night", Start: "0 22 * * *", Duration: 8*time.Hour + 30*time.Minute, Max: new(2)},
		}}
	kind, err := Schedule(&autoscalingv1alpha1.ScalingSchedule{ObjectMeta: metav1.ObjectMeta{Name: "s"},
		Spec: autoscalingv1alpha1.ScalingScheduleSpec{ScheduleTimes: times}})
	if err != nil || !cmp.Equal(kind, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, kind))
	}
	want.Name = "annotation autoscaling.sluice.dev/schedule"
	for _, text := range []string{`
timeZone: Europe/Berlin
lead: 2m
entries:
- {name: office, start: 0 8 * * 1-5, end: 0 18 * * 1-5, minReplicas: 10}
- {name: night, start: 0 22 * * *, duration: 8h30m, maxReplicas: 2}
`, `{"timeZone":"Europe/Berlin","lead":"2m","entries":[{"name":"office","start":"0 8 * * 1-5","end":"0 18 * * 1-5","minReplicas":10},` +
		`{"name":"night","start":"0 22 * * *","duration":"8h30m","maxReplicas":2}]}`} {
		got, err := AnnotatedSchedule(map[string]string{autoscalingv1alpha1.ScheduleAnnotation: text})
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%v\n%s", err, cmp.Diff(want, got))
		}
	}
}

func TestAnnotationsThatAreNoSchedule(t *testing.T) {
	for text, want := range map[string]string{
		"[":                                     "want timeZone, lead and entries as in a ScalingSchedule",
		"entries: 7":                            "want timeZone, lead and entries as in a ScalingSchedule",
		"zone: UTC":                             `unknown field "zone"`,
		"lead: soon":                            `lead: "soon" is no duration such as 90m`,
		"entries: [{name: a, duration: 1}]":     `entry a: duration: "1" is no duration such as 90m`,
		"entries: [{name: a, duration: 1 day}]": `entry a: duration: "1 day" is no duration such as 90m`,
		"entries: [{minReplicas: 3000000000}]":  "want timeZone, lead and entries as in a ScalingSchedule",
		strings.Repeat("#", 40000):              "it is longer than 32768 bytes",
	} {
		_, err := AnnotatedSchedule(map[string]string{autoscalingv1alpha1.ScheduleAnnotation: text})
		if err == nil || !strings.HasPrefix(err.Error(), "annotation autoscaling.sluice.dev/schedule: ") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%.50q: %v, want %s", text, err, want)
		}
	}
	if s, err := AnnotatedSchedule(nil); s != nil || err != nil {
		t.Errorf("no annotation: %v, %v", s, err)
	}
}

func TestServicesThatAScheduleSelects(t *testing.T) {
	hello := &servingv1.Service{ObjectMeta: metav1.ObjectMeta{Name: "hello", Labels: map[string]string{"tier": "web"}}}
	for name, c := range map[string]struct {
		services []string
		selector *metav1.LabelSelector
		want     bool
	}{
		"by name":       {[]string{"other", "hello"}, nil, true},
		"by label":      {nil, &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "web"}}, true},
		"by either":     {[]string{"hello"}, &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "db"}}, true},
		"all":           {nil, &metav1.LabelSelector{}, true},
		"another name":  {[]string{"other"}, nil, false},
		"another label": {nil, &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "db"}}, false},
		"a wrong one": {nil, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}},
			false},
		"by expressions": {nil,
			&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Exists"}}}, true},
	} {
		s := &autoscalingv1alpha1.ScalingSchedule{Spec: autoscalingv1alpha1.ScalingScheduleSpec{Services: c.services, Selector: c.selector}}
		if got := Selects(s, hello); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
