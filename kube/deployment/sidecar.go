package deployment

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sluice.dev/sluice/model"
)

// Ports of the queue-proxy, as in Knative. The kubelet probes it on the admin port, where no request of a client comes.
const (
	http1Port   = 8012
	h2cPort     = 8013
	adminPort   = 8022
	metricsPort = 9090
)

// queueProxyName is the name of the sidecar, which no container of the user may have.
const queueProxyName = "queue-proxy"

// sidecarAnnotation is the prefix of annotations that set resources of the sidecar, such as "…/cpu-resource-request".
const sidecarAnnotation = "queue.sidecar.serving.knative.dev/"

// queueProxy returns the sidecar. readiness is the probe of the serving container.
func queueProxy(w model.Workload, annotations map[string]string, readiness *corev1.Probe, c Config) (corev1.Container, error) {
	env, err := queueProxyEnv(w, readiness, c)
	if err != nil {
		return corev1.Container{}, err
	}
	resources, err := sidecarResources(annotations, c.Resources)
	if err != nil {
		return corev1.Container{}, err
	}
	return corev1.Container{
		Name: queueProxyName, Image: c.QueueProxy, ImagePullPolicy: c.PullPolicy,
		Env: env, Resources: resources,
		Ports: []corev1.ContainerPort{
			{Name: "queue-port", ContainerPort: servingPort(w), Protocol: corev1.ProtocolTCP},
			{Name: "http-queueadm", ContainerPort: adminPort, Protocol: corev1.ProtocolTCP},
			{Name: "http-autometric", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
		},
		ReadinessProbe: kubeletProbe(readiness),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true), RunAsNonRoot: new(true),
			Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}, nil
}

// servingPort is where a pod takes requests.
func servingPort(w model.Workload) int32 {
	switch {
	case w.Direct:
		return int32(w.Containers[0].Port)
	case w.Protocol == model.H2C:
		return h2cPort
	}
	return http1Port
}

// queueProxyEnv configures the sidecar; `queue-proxy --help` says what the variables mean.
func queueProxyEnv(w model.Workload, readiness *corev1.Probe, c Config) ([]corev1.EnvVar, error) {
	probe, err := json.Marshal(queueProxyProbe(readiness))
	if err != nil {
		return nil, fmt.Errorf("encoding the readiness probe: %w", err)
	}
	env := []corev1.EnvVar{
		{Name: "SERVING_NAMESPACE", Value: w.Revision.Namespace},
		{Name: "SERVING_SERVICE", Value: w.Service},
		{Name: "SERVING_CONFIGURATION", Value: w.Configuration},
		{Name: "SERVING_REVISION", Value: w.Revision.Name},
		{Name: "SERVING_POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		{Name: "QUEUE_SERVING_PORT", Value: strconv.Itoa(int(servingPort(w)))},
		{Name: "USER_PORT", Value: strconv.Itoa(w.Containers[0].Port)},
		{Name: "CONTAINER_CONCURRENCY", Value: strconv.Itoa(w.Concurrency)},
		{Name: "REVISION_TIMEOUT_SECONDS", Value: seconds(w.Timeout)},
		{Name: "REVISION_RESPONSE_START_TIMEOUT_SECONDS", Value: seconds(w.ResponseStart)},
		{Name: "REVISION_IDLE_TIMEOUT_SECONDS", Value: seconds(w.Idle)},
		{Name: "SERVING_READINESS_PROBE", Value: string(probe)},
		{Name: "SLUICE_DRAIN_QUIET_SECONDS", Value: seconds(c.quiet())},
		{Name: "SLUICE_STREAM_DRAIN_SECONDS", Value: seconds(w.StreamDrain)},
	}
	if c.ActivatorKey != "" {
		env = append(env, corev1.EnvVar{Name: "SLUICE_ACTIVATOR_KEY", Value: c.ActivatorKey})
	}
	return append(env, tracingEnv(c.Tracing)...), nil
}

// tracingEnv says where spans go, in OpenTelemetry's own variables.
func tracingEnv(t model.Tracing) []corev1.EnvVar {
	if !t.On() {
		return nil
	}
	return []corev1.EnvVar{
		{Name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Value: t.Endpoint},
		{Name: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", Value: string(t.Protocol)},
		{Name: "OTEL_TRACES_SAMPLER", Value: "parentbased_traceidratio"},
		{Name: "OTEL_TRACES_SAMPLER_ARG", Value: strconv.FormatFloat(t.SamplingRate, 'f', -1, 64)},
	}
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// queueProxyProbe is the probe that the queue-proxy does of the application: the user's, but for what the kubelet does (the delay before
// the first probe, and counting where it probes periodically) and for commands, in place of which it tries a connection.
func queueProxyProbe(readiness *corev1.Probe) *corev1.Probe {
	if readiness == nil || readiness.Exec != nil {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
	}
	p := readiness.DeepCopy()
	p.InitialDelaySeconds = 0
	if p.PeriodSeconds != 0 {
		p.SuccessThreshold, p.FailureThreshold = 0, 0
	}
	if p.TCPSocket != nil {
		p.TCPSocket.Host = "" // the application is in this pod
	}
	return p
}

// kubeletProbe is the probe that the kubelet does of the queue-proxy. With aggressive probing (a period of 0) the queue-proxy holds its
// answer for up to 10 s until the application is ready, so one probe of the kubelet is enough. The period of 1 s is for a probe that came
// before the queue-proxy listened. Knative leaves it at Kubernetes' 10 s, which a missed first probe then takes.
func kubeletProbe(readiness *corev1.Probe) *corev1.Probe {
	p := &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 11, SuccessThreshold: 1, FailureThreshold: 3}
	if readiness != nil && readiness.PeriodSeconds != 0 {
		p = readiness.DeepCopy()
	}
	p.ProbeHandler = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(adminPort)}}
	return p
}

// sidecarResources returns the resources of the sidecar, with those that annotations name.
func sidecarResources(annotations map[string]string, base corev1.ResourceRequirements) (corev1.ResourceRequirements, error) {
	out := *base.DeepCopy()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		for kind, list := range map[string]*corev1.ResourceList{"request": &out.Requests, "limit": &out.Limits} {
			key := sidecarAnnotation + string(name) + "-resource-" + kind
			value := annotations[key]
			if value == "" {
				continue
			}
			quantity, err := resource.ParseQuantity(value)
			if err != nil {
				return out, fmt.Errorf("annotation %s is %q, want a quantity such as 100m or 64Mi", key, value)
			}
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = quantity
		}
	}
	return out, nil
}
