package deployment

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sluice.dev/sluice/model"
)

// podOf returns a pod that has the containers of newRevision, with these statuses and conditions.
func podOf(s corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "user-container"}, {Name: queueProxyName}}},
		Status:     s,
	}
}

func containers(statuses ...corev1.ContainerStatus) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: statuses}
}

func waitingFor(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{
		Name: "user-container", Image: "example.org/hello",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}
}

// crashed returns a container that waits for its next start after an end.
func crashed(end corev1.ContainerStateTerminated) corev1.ContainerStatus {
	s := waitingFor("CrashLoopBackOff", "back-off 10s restarting failed container")
	s.LastTerminationState.Terminated = &end
	return s
}

func progress(status corev1.ConditionStatus) *appsv1.Deployment {
	return &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentProgressing, Status: status},
	}}}
}

func TestFailures(t *testing.T) {
	queue := corev1.ContainerStatus{Name: queueProxyName, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	running := corev1.ContainerStatus{Name: "user-container", Ready: true,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	again := corev1.ContainerStatus{
		Name: "user-container", State: running.State,
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "no database\n"}},
	}
	starting := corev1.ContainerStatus{Name: "user-container", Started: new(false), State: running.State}
	quota := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
		Message: `pods "hello-1" is forbidden: exceeded quota: tiny`,
	}}}}
	unschedulable := corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable",
		Message: "0/1 nodes are available: 1 Insufficient cpu.",
	}}}
	initFails := corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{
		{Name: "first", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}},
		{Name: "second", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 4}}},
	}}
	for name, c := range map[string]struct {
		pod    corev1.PodStatus
		d      *appsv1.Deployment
		want   *model.Failure
		direct bool
	}{
		"a pod on its way": {pod: containers(waitingFor("ContainerCreating", ""))},
		"an unready app":   {pod: containers(queue, running)},
		"a quota": {pod: corev1.PodStatus{}, d: quota,
			want: &model.Failure{Reason: "FailedCreate",
				Message: `Kubernetes refuses to create a pod: pods "hello-1" is forbidden: exceeded quota: tiny.`}},
		"no room": {pod: unschedulable,
			want: &model.Failure{Reason: "Unschedulable", Message: "No node takes a pod: 0/1 nodes are available: 1 Insufficient cpu."}},
		"a missing image": {pod: containers(queue, waitingFor("ImagePullBackOff", "not found")),
			want: &model.Failure{Reason: "ImagePullBackOff",
				Message: `Image "example.org/hello" of container "user-container" cannot be pulled: not found.`}},
		"a wrong name": {pod: containers(waitingFor("InvalidImageName", "")),
			want: &model.Failure{Reason: "InvalidImageName",
				Message: `Image "example.org/hello" of container "user-container" cannot be pulled: Kubernetes does not say why.`,
				Lasting: true}},
		"a missing secret": {pod: containers(waitingFor("CreateContainerConfigError", `secret "x" not found`)),
			want: &model.Failure{Reason: "CreateContainerConfigError",
				Message: `Container "user-container" cannot be started: secret "x" not found.`}},
		"a crash": {pod: containers(crashed(corev1.ContainerStateTerminated{ExitCode: 3, Message: "boom\n"})),
			want: &model.Failure{Reason: "ExitCode3", Message: "boom"}},
		"a silent crash": {pod: containers(crashed(corev1.ContainerStateTerminated{ExitCode: 3})),
			want: &model.Failure{Reason: "ExitCode3", Message: `Container "user-container" ended with exit code 3 and said nothing.`}},
		"an end": {pod: containers(crashed(corev1.ContainerStateTerminated{})), want: &model.Failure{Reason: "ExitCode0"}},
		"too much memory": {pod: containers(crashed(corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"})),
			want: &model.Failure{Reason: "ExitCode137",
				Message: `Container "user-container" was killed because it used more memory than its limit.`}},
		"a second life": {pod: containers(queue, again), want: &model.Failure{Reason: "ExitCode1", Message: "no database"}},
		"an init container": {pod: initFails,
			want: &model.Failure{Reason: "ExitCode4", Message: `Container "second" ended with exit code 4 and said nothing.`}},
		"a late crash": {pod: containers(crashed(corev1.ContainerStateTerminated{ExitCode: 3, Message: "boom"})),
			d: progress(corev1.ConditionFalse), want: &model.Failure{Reason: "ExitCode3", Message: "boom", Lasting: true}},
		"a probe": {pod: containers(queue, running), d: progress(corev1.ConditionFalse),
			want: &model.Failure{Reason: "ProgressDeadlineExceeded", Lasting: true,
				Message: `Revision default/hello-00001 was not ready within 10m0s. Container "user-container" runs, but does not pass its ` +
					`readiness probe. It must listen on the port that $PORT names.`}},
		"a probe without a queue-proxy": {pod: containers(corev1.ContainerStatus{Name: "user-container", State: running.State}),
			d: progress(corev1.ConditionFalse), direct: true,
			want: &model.Failure{Reason: "ProgressDeadlineExceeded", Lasting: true,
				Message: `Revision default/hello-00001 was not ready within 10m0s. Container "user-container" runs, but does not pass its ` +
					`readiness probe. Without a queue-proxy it must listen on the address of its pod, and not only on loopback, ` +
					`at the port that $PORT names.`}},
		"a startup probe": {pod: containers(queue, starting), d: progress(corev1.ConditionFalse),
			want: &model.Failure{Reason: "ProgressDeadlineExceeded", Lasting: true,
				Message: `Revision default/hello-00001 was not ready within 10m0s. Container "user-container" runs, but does not pass its ` +
					`startup probe. It must listen on the port that $PORT names.`}},
		"progress": {pod: containers(queue, running), d: progress(corev1.ConditionTrue)},
	} {
		t.Run(name, func(t *testing.T) {
			w := workloadOf(newRevision("hello-00001"))
			w.Replicas, w.Direct = 1, c.direct
			if diff := cmp.Diff(c.want, observe(w, []*corev1.Pod{podOf(c.pod)}, c.d, answers{}).Failure); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFailureOfAProbeSaysWhatItFound(t *testing.T) {
	w := workloadOf(newRevision("hello-00001"))
	w.Replicas = 1
	pod := podOf(running("10.0.0.1"))
	pod.UID = "pod"
	said := answers{no: map[types.UID]string{"pod": "HTTP probe of /healthz: got status 500, want 200 to 399"}}
	f := observe(w, []*corev1.Pod{pod}, progress(corev1.ConditionFalse), said).Failure
	const want = `Container "user-container" runs, but does not pass its readiness probe. ` +
		`The last one found: HTTP probe of /healthz: got status 500, want 200 to 399.`
	if f == nil || !strings.HasSuffix(f.Message, want) {
		t.Errorf("the failure is %+v, want one with %q", f, want)
	}
}

func TestTheKubeletsTimeDoesNotReplaceThePods(t *testing.T) {
	at := time.Unix(1000, 700)
	scrape := func(since time.Time) model.WorkloadStatus {
		return model.WorkloadStatus{Metrics: []model.Scrape{{URL: "http://10.0.0.1:9090/metrics", Since: since}}}
	}
	for since, want := range map[time.Time]time.Time{
		time.Unix(1000, 0): at, time.Unix(1002, 0): at, time.Unix(2000, 0): time.Unix(2000, 0), // the last is another start
	} {
		before, status := scrape(at), scrape(since)
		if steady(&status, &before); !status.Metrics[0].Since.Equal(want) {
			t.Errorf("since %v became %v, want %v", since, status.Metrics[0].Since, want)
		}
	}
}
