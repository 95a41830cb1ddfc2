package install

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Ports of the pods.
const (
	xdsPort       = 18000
	adminPort     = 9090 // metrics and probes, of every role
	activatorPort = 8012
	httpPort      = 8080
	httpsPort     = 8443
	localPort     = 8081
)

// user is the number of the user of all processes. It is no user of a node.
const user = 65532

// role is what the Deployments of roles differ in.
type role struct {
	name      string
	replicas  int
	grace     int64 // seconds that a pod has to end in order
	container corev1.Container
	init      []corev1.Container
	volumes   []corev1.Volume
	api       bool // its pods talk to the API server
}

// deployment returns the Deployment of a role. A rolling update starts a new pod before it ends an old one.
func (o Options) deployment(r role) *appsv1.Deployment {
	selector := &metav1.LabelSelector{MatchLabels: labels(r.name)}
	pod := corev1.PodSpec{
		ServiceAccountName:            r.name,
		AutomountServiceAccountToken:  &r.api,
		TerminationGracePeriodSeconds: &r.grace,
		InitContainers:                r.init,
		Containers:                    []corev1.Container{r.container},
		Volumes:                       r.volumes,
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
			spread(corev1.LabelTopologyZone, selector), spread(corev1.LabelHostname, selector),
		},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(user)), RunAsGroup: new(int64(user)), FSGroup: new(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	return &appsv1.Deployment{
		TypeMeta:   typeMeta("apps/v1", "Deployment"),
		ObjectMeta: o.meta(r.name, r.name),
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(r.replicas)), //nolint:gosec // Check bounds it
			Selector: selector,
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.FromInt32(1)),
				},
			},
			RevisionHistoryLimit: new(int32(3)),
			Template:             corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels(r.name)}, Spec: pod},
		},
	}
}

// spread prefers places that have the fewest pods of the role.
func spread(over string, pods *metav1.LabelSelector) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: over, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: pods,
		MatchLabelKeys: []string{"pod-template-hash"},
	}
}

// container returns a container that needs nothing of its node.
func (o Options) container(name, image string, args ...string) corev1.Container {
	return corev1.Container{
		Name: name, Image: image, ImagePullPolicy: corev1.PullPolicy(o.PullPolicy), Args: args, Env: podEnv(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// podEnv tells a process which pod it is.
func podEnv() []corev1.EnvVar {
	var all []corev1.EnvVar
	for _, v := range [][2]string{
		{"POD_NAME", "metadata.name"}, {"POD_NAMESPACE", "metadata.namespace"}, {"POD_IP", "status.podIP"},
	} {
		all = append(all, corev1.EnvVar{
			Name: v[0], ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: v[1]}},
		})
	}
	return all
}

// resources returns what a container is sure to get, and the memory that it may have at most. CPU has no limit: a limit would hold up
// requests while the node is idle.
func resources(cpu, memory, most string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(most)},
	}
}

func port(name string, number int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.ProtocolTCP}
}

// readiness asks a page of the admin port every second, because endpoints and updates wait for the answer.
func readiness(path string) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("admin")}},
		PeriodSeconds: 1, TimeoutSeconds: 5, FailureThreshold: 3,
	}
}

// liveness restarts a process that has not accepted a connection for two minutes. It asks nothing that depends on other processes: an
// outage of the control plane must not restart what serves requests.
func liveness() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("admin")}},
		PeriodSeconds: 20, TimeoutSeconds: 10, FailureThreshold: 6,
	}
}

// scratch is a folder in memory, for sockets and small files of one pod.
func scratch(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
		Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("16Mi")),
	}}}
}

// budget has evictions, such as of a node that is emptied, end one pod of a role at a time.
func (o Options) budget(role string) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta: typeMeta("policy/v1", "PodDisruptionBudget"), ObjectMeta: o.meta(role, role),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: labels(role)},
			UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow),
		},
	}
}

// service returns the Service of a role's pods.
func (o Options) service(name, role string, kind corev1.ServiceType, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		TypeMeta: typeMeta("v1", "Service"), ObjectMeta: o.meta(name, role),
		Spec: corev1.ServiceSpec{Type: kind, Selector: labels(role), Ports: ports},
	}
}

func servicePort(name string, number int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: number, TargetPort: intstr.FromString(name), Protocol: corev1.ProtocolTCP}
}
