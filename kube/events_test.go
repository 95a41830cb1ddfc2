package kube_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

// eventsOf returns the Events about an object, as TYPE REASON: MESSAGE, without repetitions.
func (b *bench) eventsOf(kind, name string) []string {
	b.t.Helper()
	api, err := kubernetes.NewForConfig(b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	list, err := api.CoreV1().Events("default").List(b.t.Context(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name {
			if e.Source.Component != "sluice-controller" || e.InvolvedObject.UID == "" || e.InvolvedObject.APIVersion == "" {
				b.t.Errorf("an Event from %+v about %+v", e.Source, e.InvolvedObject)
			}
			all = append(all, fmt.Sprintf("%s %s: %s", e.Type, e.Reason, e.Message))
		}
	}
	return all
}

func (b *bench) eventuallyTold(kind, name, want string) {
	b.t.Helper()
	b.eventually("an Event of "+kind+" "+name+" with "+want, func() (bool, string) {
		all := b.eventsOf(kind, name)
		return slices.ContainsFunc(all, func(e string) bool { return strings.Contains(e, want) }), strings.Join(all, "\n")
	})
}

func TestEventsTellWhatBecomesOfAService(t *testing.T) {
	b := newClusterBench(t, nil)
	b.failing["hello-00002"] = &model.Failure{Reason: "ExitCode1", Message: "Container failed with: no such table"}
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.eventuallyTold("Service", "hello", "Normal RevisionCreated: Created the revision hello-00001")
	b.eventuallyTold("Service", "hello", "Normal Ready: Ready at http://hello.default.localhost:8080")
	b.eventuallyTold("Revision", "hello-00001", "Normal Ready: The revision is ready")

	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "two" })
	b.eventuallyTold("Revision", "hello-00002", "Warning ExitCode1: Container failed with: no such table")
	b.eventuallyTold("Service", "hello", "Warning RevisionFailed: ")
	b.change("hello", func(s *servingv1.Service) { s.Spec.Template.Spec.Containers[0].Env[0].Value = "three" })
	b.eventuallySplit("hello", map[string]int{"hello-00003": 100})
	b.eventuallyTold("Service", "hello", "Normal TrafficChanged: Traffic is now 100% hello-00003; it was 100% hello-00001")

	key := model.Key{Namespace: "default", Name: "hello-00003"}
	uid := string(b.revision(key.Name).UID)
	b.adapter.Scale(key, uid,
		model.Decision{Replicas: 4, Initialized: true, Desired: 4, Metric: model.Concurrency, Fresh: true, Stable: 390,
			Target: 100, Reason: model.ReasonStable, Active: model.Condition{Type: model.Active, Status: model.True}})
	b.eventuallyTold("Revision", key.Name, "Normal Scaled: Scaled from 1 to 4 replicas: ")
	for _, kind := range []string{"Route", "Configuration"} {
		if all := b.eventsOf(kind, "hello"); len(all) > 0 {
			t.Errorf("the %s of a Service has Events, which belong to the Service: %q", kind, all)
		}
	}
}

// What changes often must not become an Event each time.
func TestEventsAreBounded(t *testing.T) {
	b := newClusterBench(t, nil)
	if err := b.Create(t.Context(), newService("hello", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyReady("hello")
	b.eventuallyTold("Revision", "hello-00001", "Normal Ready")
	revision := b.revision("hello-00001")
	key := model.Key{Namespace: "default", Name: revision.Name}
	b.mu.Lock()
	b.mute[revision.Name] = true // the test reports
	b.mu.Unlock()
	began := time.Now()
	writes := b.countEvents(revision.Name)
	const steps = 60
	for i := range steps {
		n := 2 + i%7
		b.eventually("the status follows", func() (bool, string) {
			// Again each time, because the autoscaler decides too.
			b.adapter.Scale(key, string(revision.UID), model.Decision{Replicas: n, Initialized: true,
				Active: model.Condition{Type: model.Active, Status: model.True}})
			b.adapter.Observe(model.WorkloadStatus{Revision: key, UID: string(revision.UID), Running: 1,
				Failure: &model.Failure{Reason: "ExitCode1", Message: fmt.Sprintf("crash %d", i)}})
			s := b.revision(revision.Name).Status
			c := s.Condition("ContainerHealthy")
			return s.DesiredReplicas != nil && *s.DesiredReplicas == int32(n) && c != nil &&
					strings.HasSuffix(c.Message, fmt.Sprintf("crash %d", i)),
				fmt.Sprintf("%+v", s)
		})
	}
	// An Event about another object comes after all that are on their way, since one goroutine sends them.
	if err := b.Create(t.Context(), newService("last", "one")); err != nil {
		t.Fatal(err)
	}
	b.eventuallyTold("Service", "last", "Normal Ready")
	got := writes()
	minutes := int(time.Since(began)/time.Minute) + 1 // a busy machine may take several
	t.Logf("%d steps and failures in %v: %v", steps, time.Since(began), got)
	if n := got["Scaled"]; n < 1 || n > minutes {
		t.Errorf("%d writes of Events about %d scale steps, want one a minute", n, steps)
	}
	if n := got["ExitCode1"]; n < 1 || n > 10+minutes {
		t.Errorf("%d writes of Events about %d failures, want a burst of 10 and then one a minute", n, steps)
	}
}

// countEvents counts the writes of Events about an object from now on, by reason. The function that it returns ends that.
func (b *bench) countEvents(name string) func() map[string]int {
	b.t.Helper()
	api, err := kubernetes.NewForConfig(b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	w, err := api.CoreV1().Events("default").Watch(b.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		b.t.Fatal(err)
	}
	counts := make(chan map[string]int)
	go func() {
		n := map[string]int{}
		for e := range w.ResultChan() {
			if o, ok := e.Object.(*corev1.Event); ok {
				n[o.Reason]++
			}
		}
		counts <- n
	}()
	return func() map[string]int {
		w.Stop()
		return <-counts
	}
}
