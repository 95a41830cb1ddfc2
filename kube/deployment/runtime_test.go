package deployment

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
	"sluice.dev/sluice/model"
)

func TestEndpointsComeFromPods(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 2)
	d := b.deployment(w, "a Deployment", hasReplicas(2))
	b.pod(d, ready("10.0.0.2"))
	first := b.pod(d, corev1.PodStatus{Phase: corev1.PodPending})
	s := b.status(w, "two pods, one of them ready", func(s model.WorkloadStatus) bool { return s.Running == 2 && len(s.Ready) == 1 })
	if s.Start.Asked.IsZero() || s.Start.Ready.Before(s.Start.Started) || s.Start.Started.Before(s.Start.Asked) {
		t.Errorf("the moments of the start are %+v, want them in order", s.Start)
	}
	b.become(first, ready("10.0.0.1"))
	s = b.status(w, "two ready pods", func(s model.WorkloadStatus) bool { return len(s.Ready) == 2 })
	if want := []model.Endpoint{{Host: "10.0.0.1", Port: 8012}, {Host: "10.0.0.2", Port: 8012}}; !slices.Equal(s.Ready, want) {
		t.Errorf("the endpoints are %v, want %v", s.Ready, want)
	}
	if want := "http://10.0.0.1:9090/metrics"; s.Metrics[0].URL != want {
		t.Errorf("metrics are at %s, want %s", s.Metrics[0].URL, want)
	}
	if err := b.Delete(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s = b.status(w, "one ready pod", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	if s.Running != 2 {
		t.Errorf("%d pods run, want 2: one of them drains", s.Running)
	}
}

func TestReplicasAreSetThroughTheScaleSubresource(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	b.deployment(w, "one replica", hasReplicas(1))
	b.run(w, 5)
	d := b.deployment(w, "five replicas", hasReplicas(5))
	if !slices.ContainsFunc(d.ManagedFields, func(m metav1.ManagedFieldsEntry) bool { return m.Subresource == "scale" }) {
		t.Errorf("the replicas were not set through the scale subresource: %+v", d.ManagedFields)
	}
	d.Spec.Replicas = new(int32(9))
	if err := b.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.deployment(w, "five replicas again", hasReplicas(5))
	b.run(w, 0)
	b.deployment(w, "no replicas", hasReplicas(0))
}

func TestARevisionThatNeverRanHasNoDeployment(t *testing.T) {
	b := newBench(t)
	asleep, awake := b.add(newRevision("asleep-00001")), b.add(newRevision("awake-00001"))
	b.run(asleep, 0)
	b.run(awake, 1)
	b.deployment(awake, "the other Deployment", hasReplicas(1))
	b.eventually("all is written", func() bool { return b.runtime.writes.Len() == 0 })
	d := &appsv1.Deployment{}
	err := b.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: Name("asleep-00001")}, d)
	if !apierrors.IsNotFound(err) {
		t.Errorf("there is a Deployment with %v replicas: %v", d.Spec.Replicas, err)
	}
}

func TestARestartWritesNothing(t *testing.T) {
	b := newBench(t)
	stop := b.start(testConfig())
	known, unknown := b.add(newRevision("known-00001")), b.add(newRevision("unknown-00001"))
	b.run(known, 3)
	b.run(unknown, 2)
	before := []*appsv1.Deployment{b.deployment(known, "three", hasReplicas(3)), b.deployment(unknown, "two", hasReplicas(2))}
	b.pod(before[0], ready("10.0.0.1"))
	stop()
	b.statuses = map[model.Key]model.WorkloadStatus{}
	defer b.start(testConfig())()
	b.run(known, 3)
	s := b.status(known, "the pod that was there", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	if s.Start != (model.Start{}) {
		t.Errorf("the moments of the start are %+v, want none: the pod was there before", s.Start)
	}
	b.eventually("all is written", func() bool { return b.runtime.writes.Len() == 0 })
	for i, w := range []model.Workload{known, unknown} {
		after := b.deployment(w, "a Deployment", func(*appsv1.Deployment) bool { return true })
		if after.ResourceVersion != before[i].ResourceVersion {
			t.Errorf("Deployment %s was written: %s", after.Name, cmp.Diff(before[i], after))
		}
	}
}

func TestAnotherQueueProxyReplacesPodsAndKeepsReplicas(t *testing.T) {
	b := newBench(t)
	stop := b.start(testConfig())
	w := b.add(newRevision("hello-00001"))
	b.run(w, 3)
	b.deployment(w, "three replicas", hasReplicas(3))
	stop()
	newer := testConfig()
	newer.QueueProxy = "sluice.example/queue-proxy:2"
	defer b.start(newer)()
	b.run(w, 3)
	b.deployment(w, "the new sidecar and three replicas", func(d *appsv1.Deployment) bool {
		return d.Spec.Template.Spec.Containers[1].Image == newer.QueueProxy && *d.Spec.Replicas == 3
	})
}

func TestFailuresAreReported(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	d := b.deployment(w, "a Deployment", hasReplicas(1))
	d.Status.Conditions = []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota: tiny",
	}}
	if err := b.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	failsWith := func(reason, part string) {
		t.Helper()
		b.status(w, reason+" with "+part, func(s model.WorkloadStatus) bool {
			return s.Failure != nil && s.Failure.Reason == reason && strings.Contains(s.Failure.Message, part)
		})
	}
	failsWith("FailedCreate", "exceeded quota: tiny")
	pod := b.pod(d, containers(waitingFor("ImagePullBackOff", "not found")))
	failsWith("ImagePullBackOff", "cannot be pulled: not found.")
	b.become(pod, containers(crashed(corev1.ContainerStateTerminated{ExitCode: 7, Message: "no database"})))
	failsWith("ExitCode7", "no database")
	b.become(pod, ready("10.0.0.1"))
	s := b.status(w, "a ready pod", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	if s.Failure != nil {
		t.Errorf("the failure is %+v although a pod is ready", s.Failure)
	}
}

func TestWhatTheAPIServerRefusesIsAFailure(t *testing.T) {
	b := newBench(t)
	r := newRevision("hello-00001")
	r.Spec.Containers[0].VolumeMounts = []servingv1.VolumeMount{{Name: "none", MountPath: "/none"}}
	w := b.add(r)
	b.run(w, 1)
	s := b.status(w, "a failure", func(s model.WorkloadStatus) bool { return s.Failure != nil })
	if s.Failure.Reason != "InvalidPod" || !s.Failure.Lasting || !strings.Contains(s.Failure.Message, `"none"`) {
		t.Errorf("the failure is %+v, want one that names the volume", s.Failure)
	}
}

func TestADeploymentOfOthersIsLeftAlone(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	w.Replicas = 1
	d, err := Deployment(w, b.revisions[w.Revision], testConfig())
	if err != nil {
		t.Fatal(err)
	}
	d.OwnerReferences, d.Labels = nil, nil
	if err := b.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.run(w, 1)
	b.status(w, "NotOwned", func(s model.WorkloadStatus) bool { return s.Failure != nil && s.Failure.Reason == "NotOwned" })
	if err := b.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.deployment(w, "a Deployment of our own", func(d *appsv1.Deployment) bool { return len(d.OwnerReferences) == 1 })
	b.status(w, "no failure", func(s model.WorkloadStatus) bool { return s.Failure == nil })
}

func TestARevisionOfTheSameNameGetsADeploymentOfItsOwn(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	b.deployment(w, "a Deployment", hasReplicas(1))
	again := newRevision("hello-00001")
	again.UID = "another"
	w = b.add(again)
	b.run(w, 2)
	b.deployment(w, "a Deployment of the new Revision", func(d *appsv1.Deployment) bool {
		return d.OwnerReferences[0].UID == "another" && *d.Spec.Replicas == 2
	})
}

// A Revision that is deleted with propagation Foreground stays until its Deployment and pods are gone.
func TestADeploymentThatIsGoneBeforeItsRevisionIsNotMadeAgain(t *testing.T) {
	b := newBench(t)
	r := newRevision("hello-00001")
	w, other := b.add(r), b.add(newRevision("other-00001"))
	b.run(w, 1)
	d := b.deployment(w, "a Deployment", hasReplicas(1))
	b.status(w, "its status", func(model.WorkloadStatus) bool { return true })
	deleted := r.DeepCopy()
	deleted.DeletionTimestamp = new(metav1.Now())
	b.add(deleted)
	if err := b.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	b.run(w, 2)
	b.run(other, 1)
	b.deployment(other, "the other Deployment", hasReplicas(1))
	b.eventually("all is written", func() bool { return b.runtime.writes.Len() == 0 })
	if err := b.Get(t.Context(), client.ObjectKeyFromObject(d), d); !apierrors.IsNotFound(err) {
		t.Errorf("there is a Deployment with %v replicas: %v", d.Spec.Replicas, err)
	}
}

func TestTheDeploymentOfARevisionThatIsGoneIsDeleted(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	b.deployment(w, "a Deployment", hasReplicas(1))
	b.status(w, "its status", func(model.WorkloadStatus) bool { return true })
	b.runtime.Run(model.Workload{Revision: w.Revision})
	b.eventually("no Deployment", func() bool {
		err := b.Get(t.Context(), client.ObjectKey{Namespace: b.namespace, Name: Name(w.Revision.Name)}, &appsv1.Deployment{})
		return apierrors.IsNotFound(err)
	})
}

func TestTheAPIServerTakesAllGoldenCases(t *testing.T) {
	b := newBench(t)
	for name, r := range goldenRevisions(t) {
		r.Namespace = b.namespace
		d, err := Deployment(workloadOf(r), r, testConfig())
		if err != nil {
			continue // a mistake, which TestDeployments holds
		}
		if err := b.Create(t.Context(), d, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
