package deployment

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sluice.dev/sluice/model"
)

func TestAFollowerSeesEndpointsAndWritesNothingUntilItLeads(t *testing.T) {
	b := newBench(t)
	leaderEnds := b.start(testConfig())
	known, untouched, gone := b.add(newRevision("known-00001")), b.add(newRevision("untouched-00001")), b.add(newRevision("gone-00001"))
	all := []model.Workload{known, untouched, gone}
	before := map[model.Key]*appsv1.Deployment{}
	for _, w := range all {
		b.run(w, 2)
		before[w.Revision] = b.deployment(w, "a Deployment of the leader", hasReplicas(2))
	}
	b.pod(before[known.Revision], ready("10.0.0.1"))

	f := &bench{
		Client: b.Client, t: t, config: b.config, namespace: b.namespace, revisions: b.revisions, statuses: map[model.Key]model.WorkloadStatus{},
	}
	newer := testConfig()
	newer.QueueProxy = "sluice.example/queue-proxy:2"
	defer f.startWith(Options{Pods: newer, Follow: true})()
	for _, w := range all {
		f.run(w, 0)
	}
	f.runtime.Run(model.Workload{Revision: gone.Revision})
	f.status(known, "the pod of the leader's", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })
	b.pod(before[untouched.Revision], ready("10.0.0.2"))
	f.status(untouched, "another pod of the leader's", func(s model.WorkloadStatus) bool { return len(s.Ready) == 1 })

	leaderEnds()
	f.runtime.Lead()
	f.run(known, 3)
	f.deployment(known, "what the new leader wants", func(d *appsv1.Deployment) bool {
		return *d.Spec.Replicas == 3 && d.Spec.Template.Spec.Containers[1].Image == newer.QueueProxy
	})
	f.eventually("all is written", func() bool { return f.runtime.writes.Len() == 0 })
	for _, w := range []model.Workload{untouched, gone} {
		after := f.deployment(w, "its Deployment", func(*appsv1.Deployment) bool { return true })
		if after.ResourceVersion != before[w.Revision].ResourceVersion {
			t.Errorf("the follower has written Deployment %s", client.ObjectKeyFromObject(after))
		}
	}
}
