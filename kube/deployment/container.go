package deployment

import (
	"cmp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/model"
)

// userPort is the name of the port that requests are sent to, as in Knative.
const userPort = "user-port"

// complete makes a container of the user's that of a pod: with its variables, a drain before it ends, and probes with numbers for ports.
func complete(c *corev1.Container, w model.Workload, serving bool) {
	port := int32(w.Containers[0].Port)
	name := userPort
	if len(c.Ports) > 0 {
		name = cmp.Or(c.Ports[0].Name, userPort)
	}
	for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
		resolvePort(p, name, port)
	}
	if serving {
		c.Ports = []corev1.ContainerPort{{Name: userPort, ContainerPort: port, Protocol: corev1.ProtocolTCP}}
		c.Env = append(c.Env, corev1.EnvVar{Name: "PORT", Value: strconv.Itoa(int(port))})
	}
	c.Env = append(c.Env, identity(w)...)
	if w.Direct {
		probeOften(c.ReadinessProbe)
	}
	c.Lifecycle = &corev1.Lifecycle{PreStop: beforeStop(w)}
	c.TerminationMessagePolicy = cmp.Or(c.TerminationMessagePolicy, corev1.TerminationMessageFallbackToLogsOnError)
}

// identity are the variables that say to a container what it is a part of.
func identity(w model.Workload) []corev1.EnvVar {
	return []corev1.EnvVar{
		{Name: "K_REVISION", Value: w.Revision.Name},
		{Name: "K_CONFIGURATION", Value: w.Configuration},
		{Name: "K_SERVICE", Value: w.Service},
	}
}

// lingering is for how long, in seconds, an application without a queue-proxy goes on before SIGTERM, so that its clients learn
// that it ends.
const lingering = 5

// beforeStop is what a container does before it ends.
func beforeStop(w model.Workload) *corev1.LifecycleHandler {
	if w.Direct {
		return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: lingering}}
	}
	return &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/wait-for-drain", Port: intstr.FromInt32(adminPort)}}
}

// resolvePort replaces the port of a probe by a number, where it has none or the name of the container's port.
func resolvePort(p *corev1.Probe, name string, port int32) {
	resolve := func(at *intstr.IntOrString) {
		if at.Type == intstr.Int && at.IntVal == 0 || at.Type == intstr.String && slices.Contains([]string{"", name, userPort}, at.StrVal) {
			*at = intstr.FromInt32(port)
		}
	}
	switch {
	case p == nil:
	case p.HTTPGet != nil:
		resolve(&p.HTTPGet.Port)
	case p.TCPSocket != nil:
		resolve(&p.TCPSocket.Port)
	case p.GRPC != nil:
		p.GRPC.Port = cmp.Or(p.GRPC.Port, port)
	}
}

// probeOften has the kubelet probe every second where the user leaves the period to the platform (0). Kubernetes takes 10 s for that, which
// is how long a replica would wait after a first probe that came too early. With a queue-proxy, its own probe has that period.
func probeOften(readiness *corev1.Probe) {
	if readiness != nil && readiness.PeriodSeconds == 0 {
		readiness.PeriodSeconds = 1
	}
}

// onlyExec returns the readiness probe that stays with the application: a command can only run in its container. The queue-proxy does
// all others.
func onlyExec(p *corev1.Probe) *corev1.Probe {
	if p == nil || p.Exec == nil {
		return nil
	}
	return p
}
