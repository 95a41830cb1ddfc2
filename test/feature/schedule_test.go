package feature

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	autoscalingv1alpha1 "sluice.dev/sluice/crds/autoscaling/v1alpha1"
)

// schedules reads and writes ScalingSchedules.
func (s *instance) schedules() client.Client {
	s.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig())
	if err != nil {
		s.t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := autoscalingv1alpha1.AddToScheme(scheme); err != nil {
		s.t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// active returns which windows of a ScalingSchedule are open, by its status.
func active(t *testing.T, c client.Client, name string) string {
	t.Helper()
	s := &autoscalingv1alpha1.ScalingSchedule{}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s.Status.Active
}

func TestScheduledCapacityIsReadyWhenItsWindowOpens(t *testing.T) {
	onEachGateway(t, scheduledCapacityIsReady)
}

// A cron is no finer than a minute, so the window opens at the first full minute that leaves time for the lead.
func scheduledCapacityIsReady(t *testing.T, g gateway) {
	s := g.up(t, "--config", configFile(t, quickToZero))
	s.create(newApp(t, "planned", asleep("autoscaling.knative.dev/target", "10", "autoscaling.knative.dev/window", "6s"), "MS", "500"))
	c := s.newCrowd("planned.default.localhost")
	c.size(3) // of seven that a replica should have
	s.scaledTo("planned-00001", 1)

	const lead = 15 * time.Second
	start := time.Now().UTC().Add(lead + 10*time.Second).Truncate(time.Minute).Add(time.Minute)
	plan := &autoscalingv1alpha1.ScalingSchedule{}
	plan.Namespace, plan.Name = "default", "burst"
	plan.Spec.Services, plan.Spec.Lead = []string{"planned"}, lead.String()
	plan.Spec.Entries = []autoscalingv1alpha1.ScheduleEntry{{
		Name: "now", Start: start.Format("4 15 2 1 *"), Duration: "20s", MinReplicas: new(int32(3)),
	}}
	api := s.schedules()
	if err := api.Create(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the window opens", func() error {
		if name := active(t, api, "burst"); name != "now" {
			return fmt.Errorf("open: %q", name)
		}
		return nil
	})
	if n := s.revision("planned-00001").Status.ActualReplicas; n == nil || *n < 3 {
		t.Errorf("%s replicas are ready when the window is open", number(n))
	}
	// It needs five, and so do 29 requests in flight, if clients of a busy machine take their time between two: the schedule does not keep
	// it from scaling.
	c.size(34)
	s.scaledTo("planned-00001", 5)
	c.size(3)
	s.scaledTo("planned-00001", 1)
	if _, failed := c.end(); len(failed) > 0 {
		t.Errorf("%d requests failed, the first: %s", len(failed), failed[0])
	}
	s.scaledTo("planned-00001", 0)
	early := false
	for _, step := range s.steps("planned-00001") {
		early = early || step.to == 3 &&
			strings.Contains(step.why, "the schedule asks for 3: entry now of ") && strings.Contains(step.why, " begins at ")
	}
	if !early {
		t.Errorf("no step was for a window that was still to open: %+v", s.steps("planned-00001"))
	}
}

func TestExampleOfSchedules(t *testing.T) {
	s := up(t, "-f", absolute(t, "examples/schedule"))
	s.ready("hello")
	eventually(t, "the schedules are followed", func() error {
		out, err := s.kubectl("", "get", "scalingschedules")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if strings.Count(out, "True") != 2 || !strings.Contains(out, "ACTIVE") {
			return fmt.Errorf("kubectl prints:\n%s", out)
		}
		return nil
	})
	if status, body, err := s.get("hello.default.localhost", "/"); err != nil || status != 200 {
		t.Errorf("status %d, %v: %s", status, err, body)
	}
}

func TestExplainShowsWhatEachSignalAsksFor(t *testing.T) {
	s := up(t)
	s.create(newApp(t, "held", map[string]string{
		autoscalingv1alpha1.ScheduleAnnotation: `entries: [{name: always, start: "* * * * *", duration: 48h, minReplicas: 2}]`,
	}))
	s.scaledTo("held-00001", 2)
	s.explained(0, []string{"─ the load ",
		"─ the schedule asks for 2: entry always of annotation autoscaling.sluice.dev/schedule, until "}, "held")
}

func TestWrongScheduleOfATemplateIsRefused(t *testing.T) {
	s := embed(t)
	app := newApp(t, "wrong", map[string]string{
		autoscalingv1alpha1.ScheduleAnnotation: `entries: [{name: a, start: "61 * * * *", duration: 1h, minReplicas: 1}]`,
	})
	err := s.Create(t.Context(), app)
	want := `annotation autoscaling.sluice.dev/schedule: entry a: start: "61 * * * *" is no cron (end of range (61) above maximum (59): 61)`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v, want %s", err, want)
	}
}
