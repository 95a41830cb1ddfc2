package deployment

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sluice.dev/sluice/model"
)

// failure returns why no pod of a revision is ready, nil when no failure is known. What a pod says comes before what the Deployment says.
// Pods are in order, the oldest first.
func failure(w model.Workload, pods []*corev1.Pod, d *appsv1.Deployment, said answers) *model.Failure {
	late := overdue(d)
	for _, pod := range pods {
		if f := podFailure(pod); f != nil {
			f.Lasting = f.Lasting || late
			return f
		}
	}
	if c := condition(d, appsv1.DeploymentReplicaFailure); c != nil && c.Status == corev1.ConditionTrue {
		return &model.Failure{Reason: c.Reason, Message: "Kubernetes refuses to create a pod: " + sentence(c.Message), Lasting: late}
	}
	if late && w.Replicas > 0 {
		return exceeded(w, pods, d.Spec.ProgressDeadlineSeconds, said)
	}
	return nil
}

// overdue says that the Deployment's progress deadline is over. Once the Deployment was complete, that is never so again.
func overdue(d *appsv1.Deployment) bool {
	c := condition(d, appsv1.DeploymentProgressing)
	return c != nil && c.Status == corev1.ConditionFalse
}

func condition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	if d == nil {
		return nil
	}
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == kind {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

// exceeded is the failure of a revision whose containers run, but do not become ready.
func exceeded(w model.Workload, pods []*corev1.Pod, deadline *int32, said answers) *model.Failure {
	within := cmp.Or(w.ProgressDeadline, defaultProgressDeadline)
	if deadline != nil {
		within = time.Duration(*deadline) * time.Second
	}
	message := fmt.Sprintf("Revision %s was not ready within %s.", w.Revision, within)
	for _, pod := range pods {
		for _, s := range inOrder(pod) {
			if s.State.Running == nil || s.Ready {
				continue
			}
			probe, of := "readiness", s.Name
			if s.Started != nil && !*s.Started {
				probe = "startup"
			}
			if of == queueProxyName { // which does the probe of the application
				of = w.Containers[0].Name
			}
			message += fmt.Sprintf(" Container %q runs, but does not pass its %s probe. ", of, probe)
			if why := said.no[pod.UID]; why != "" {
				message += "The last one found: " + sentence(why)
			} else {
				message += mustListen(w)
			}
			return &model.Failure{Reason: "ProgressDeadlineExceeded", Message: message, Lasting: true}
		}
	}
	return &model.Failure{Reason: "ProgressDeadlineExceeded", Message: message, Lasting: true}
}

// mustListen is what an application most likely lacks that runs without becoming ready.
func mustListen(w model.Workload) string {
	if w.Direct {
		return "Without a queue-proxy it must listen on the address of its pod, and not only on loopback, at the port that $PORT names."
	}
	return "It must listen on the port that $PORT names."
}

// podFailure returns why a pod does not run, nil when it may be on its way.
func podFailure(pod *corev1.Pod) *model.Failure {
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		return &model.Failure{Reason: c.Reason, Message: "No node takes a pod: " + sentence(c.Message)}
	}
	for _, s := range pod.Status.InitContainerStatuses {
		if s.State.Terminated != nil && s.State.Terminated.ExitCode == 0 {
			continue // it has done its work
		}
		if f := containerFailure(s); f != nil {
			return f
		}
	}
	for _, s := range inOrder(pod) {
		if f := containerFailure(s); f != nil {
			return f
		}
	}
	return nil
}

// inOrder returns the statuses of a pod's containers in the order of its spec, so the queue-proxy's comes last: it fails when the
// application does.
func inOrder(pod *corev1.Pod) []corev1.ContainerStatus {
	place := func(name string) int {
		return slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name })
	}
	return slices.SortedFunc(slices.Values(pod.Status.ContainerStatuses), func(a, b corev1.ContainerStatus) int {
		return cmp.Compare(place(a.Name), place(b.Name))
	})
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// containerFailure returns why a container does not run. A container that runs again after a crash has failed until it is ready.
func containerFailure(s corev1.ContainerStatus) *model.Failure {
	if s.Ready {
		return nil
	}
	waiting := s.State.Waiting
	if waiting == nil || waiting.Reason == "CrashLoopBackOff" {
		return exit(s)
	}
	switch waiting.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return exit(s)
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "ErrImageNeverPull", "InvalidImageName":
		return &model.Failure{
			Reason:  waiting.Reason,
			Message: fmt.Sprintf("Image %q of container %q cannot be pulled: %s", s.Image, s.Name, sentence(waiting.Message)),
			Lasting: waiting.Reason == "ErrImageNeverPull" || waiting.Reason == "InvalidImageName",
		}
	}
	return &model.Failure{
		Reason: waiting.Reason, Message: fmt.Sprintf("Container %q cannot be started: %s", s.Name, sentence(waiting.Message)),
	}
}

// exit returns the failure of a container that has ended, now or before its last start; nil when it has not. The message is the
// container's own last words where there are some, as in Knative.
func exit(s corev1.ContainerStatus) *model.Failure {
	end := s.State.Terminated
	if end == nil {
		end = s.LastTerminationState.Terminated
	}
	if end == nil {
		return nil
	}
	f := &model.Failure{Reason: fmt.Sprintf("ExitCode%d", end.ExitCode), Message: strings.TrimSpace(end.Message)}
	switch {
	case end.Reason == "OOMKilled":
		sentence := fmt.Sprintf("Container %q was killed because it used more memory than its limit. %s", s.Name, f.Message)
		f.Message = strings.TrimSpace(sentence)
	case f.Message == "" && end.ExitCode != 0:
		f.Message = fmt.Sprintf("Container %q ended with exit code %d and said nothing.", s.Name, end.ExitCode)
	}
	return f
}

// sentence ends a message of Kubernetes with a period.
func sentence(message string) string {
	message = strings.TrimSpace(message)
	if message == "" {
		return "Kubernetes does not say why."
	}
	if strings.HasSuffix(message, ".") {
		return message
	}
	return message + "."
}
