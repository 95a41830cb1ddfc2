package deployment

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/model"
)

func sidecarImage(image string) func(*appsv1.Deployment) bool {
	return func(d *appsv1.Deployment) bool {
		all := d.Spec.Template.Spec.Containers
		return all[len(all)-1].Image == image
	}
}

func TestConfigureChangesDeploymentsAndKeepsTheirReplicas(t *testing.T) {
	b := newBench(t)
	awake, asleep := b.add(newRevision("awake-00001")), b.add(newRevision("asleep-00001"))
	b.run(awake, 3)
	b.run(asleep, 1)
	b.deployment(awake, "the Deployment is there", hasReplicas(3))
	b.deployment(asleep, "the Deployment is there", hasReplicas(1))
	b.run(asleep, 0)
	b.deployment(asleep, "it sleeps", hasReplicas(0))

	c := testConfig()
	c.QueueProxy, c.NoSpread = "sluice.example/queue-proxy:2", true
	b.runtime.Configure(c)
	for _, w := range []model.Workload{awake, asleep} {
		b.deployment(w, "the new image is in the template", sidecarImage("sluice.example/queue-proxy:2"))
	}
	d := b.deployment(awake, "replicas are as they were", hasReplicas(3))
	b.deployment(asleep, "replicas are as they were", hasReplicas(0))
	if d.Spec.Template.Spec.Affinity != nil {
		t.Errorf("affinity %v, want none", d.Spec.Template.Spec.Affinity)
	}

	// The same configuration again writes nothing.
	b.runtime.Configure(c)
	marker := b.add(newRevision("marker-00001"))
	b.run(marker, 1)
	b.deployment(marker, "a later write is done", hasReplicas(1))
	if again := b.deployment(awake, "still there", hasReplicas(3)); again.Generation != d.Generation {
		t.Errorf("generation %d after the same configuration, %d before", again.Generation, d.Generation)
	}
}

func TestPodsThatNoNodeTakesYet(t *testing.T) {
	b := newBench(t)
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	d := b.deployment(w, "the Deployment is there", hasReplicas(1))
	b.pod(d, corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes are available",
	}}})
	b.status(w, "it is a failure", func(s model.WorkloadStatus) bool {
		return s.Failure != nil && s.Failure.Reason == corev1.PodReasonUnschedulable
	})
	c := testConfig()
	c.AlwaysSchedulable = true
	b.runtime.Configure(c)
	b.status(w, "it is none where nodes are added on demand", func(s model.WorkloadStatus) bool { return s.Failure == nil })
}

func TestRuntimeClassOfLabels(t *testing.T) {
	c := testConfig()
	c.RuntimeClasses = []RuntimeClass{{"gvisor", map[string]string{"tier": "a"}}, {Name: "kata"}}
	for tier, want := range map[string]string{"a": "gvisor", "b": "kata", "": "kata"} {
		r := newRevision("hello-00001")
		if tier != "" {
			r.Labels["tier"] = tier
		}
		d, err := Deployment(workloadOf(r), r, c)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, d.Spec.Template.Spec.RuntimeClassName); diff != "" {
			t.Errorf("tier %q: runtime class (-want +got):\n%s", tier, diff)
		}
	}
}
