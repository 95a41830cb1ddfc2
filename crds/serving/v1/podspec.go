package servingv1

import (
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PodSpec is the part of a pod spec that Knative lets through, in its default configuration or with one of its features. Features says
// which feature a field needs.
//
// +kubebuilder:validation:XValidation:rule="self.containers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name)))",message="volumeMounts must name one of the volumes"
// +kubebuilder:validation:XValidation:rule="!has(self.initContainers) || self.initContainers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name)))",message="volumeMounts of initContainers must name one of the volumes"
// +kubebuilder:validation:XValidation:rule="!has(self.volumes) || self.volumes.all(v, self.containers.exists(c, has(c.volumeMounts) && c.volumeMounts.exists(m, m.name == v.name)) || has(self.initContainers) && self.initContainers.exists(c, has(c.volumeMounts) && c.volumeMounts.exists(m, m.name == v.name)))",message="each of the volumes must be mounted"
// +kubebuilder:validation:XValidation:rule="!has(self.initContainers) || self.initContainers.all(c, self.containers.all(d, d.?name.orValue(\"\") != c.name))",message="an init container must not have the name of a container"
type PodSpec struct {
	// containers run side by side in each replica. One of them serves: the one with ports, or the only one.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.filter(c, size(c.?ports.orValue([])) > 0).size() <= 1",message="More than one container port is set: only one container may have ports"
	// +kubebuilder:validation:XValidation:rule="size(self) == 1 || self.exists(c, size(c.?ports.orValue([])) > 0)",message="missing field(s): ports: one of several containers must say where it takes requests"
	// +kubebuilder:validation:XValidation:rule="self.all(c, size(self) > 1 && size(c.?ports.orValue([])) == 0 || !has(c.env) || c.env.all(e, e.name != 'PORT'))",message="\"PORT\" is a reserved environment variable of the container that takes requests"
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.?name.orValue('') == '' || self.exists_one(d, d.?name.orValue('') == c.name))",message="container names must be unique"
	Containers []Container `json:"containers,omitempty"`
	// volumes that containers mount.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	Volumes []Volume `json:"volumes,omitempty"`
	// serviceAccountName is the pods' identity in the cluster.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",message="a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// automountServiceAccountToken mounts that account's token.
	// +optional
	AutomountServiceAccountToken *bool `json:"automountServiceAccountToken,omitempty"`
	// imagePullSecrets are the credentials for private registries.
	// +optional
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`
	// enableServiceLinks puts the namespace's services into the environment; false by default.
	// +optional
	EnableServiceLinks *bool `json:"enableServiceLinks,omitempty"`
	// initContainers run one after the other before the containers start.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	InitContainers []InitContainer `json:"initContainers,omitempty"`
	// Scheduling are fields that Kubernetes checks when a pod is created. They are kept as they are.
	Scheduling `json:",inline"`
}

// Scheduling is what a pod asks of its node. Kubernetes' types of these fields are large, and a change of them must not break the reading
// of stored objects, so they are any JSON here. A mistake in them becomes a condition of the Revision.
type Scheduling struct {
	// nodeSelector has the labels of the nodes that pods may run on.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations are as in Kubernetes' PodSpec.
	// +optional
	Tolerations []apiextensionsv1.JSON `json:"tolerations,omitempty"`
	// affinity is as in Kubernetes' PodSpec; by default pods prefer nodes without one of the same revision.
	// +optional
	Affinity *apiextensionsv1.JSON `json:"affinity,omitempty"`
	// topologySpreadConstraints are as in Kubernetes' PodSpec.
	// +optional
	TopologySpreadConstraints []apiextensionsv1.JSON `json:"topologySpreadConstraints,omitempty"`
	// runtimeClassName of the pods.
	// +optional
	RuntimeClassName *string `json:"runtimeClassName,omitempty"`
	// priorityClassName of the pods.
	// +optional
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// schedulerName of the pods.
	// +optional
	SchedulerName string `json:"schedulerName,omitempty"`
	// dnsPolicy of the pods.
	// +optional
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy,omitempty"`
	// dnsConfig is as in Kubernetes' PodSpec.
	// +optional
	DNSConfig *apiextensionsv1.JSON `json:"dnsConfig,omitempty"`
	// hostAliases are as in Kubernetes' PodSpec.
	// +optional
	HostAliases []apiextensionsv1.JSON `json:"hostAliases,omitempty"`
	// securityContext of the pods is as in Kubernetes' PodSpec.
	// +optional
	SecurityContext *apiextensionsv1.JSON `json:"securityContext,omitempty"`
}

// InitContainer is a container that ends before the others start. It has no ports and no probes.
type InitContainer struct {
	// name of the container.
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self != 'queue-proxy'",message="\"queue-proxy\" is a reserved container name"
	Name string `json:"name,omitempty"`
	// image to run.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// command replaces the image's entry point.
	// +optional
	Command []string `json:"command,omitempty"`
	// args replace the image's arguments.
	// +optional
	Args []string `json:"args,omitempty"`
	// workingDir of the process.
	// +optional
	WorkingDir string `json:"workingDir,omitempty"`
	// env is the environment of the process.
	// +optional
	// +kubebuilder:validation:MaxItems=500
	Env []EnvVar `json:"env,omitempty"`
	// envFrom adds all entries of configmaps and secrets to the environment.
	// +optional
	EnvFrom []EnvFromSource `json:"envFrom,omitempty"`
	// resources that the container needs and may use.
	// +optional
	Resources ResourceRequirements `json:"resources,omitzero"`
	// volumeMounts say where volumes appear.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=mountPath
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
	// imagePullPolicy is Always, IfNotPresent or Never.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// securityContext of the process.
	// +optional
	SecurityContext *SecurityContext `json:"securityContext,omitempty"`
}

// Container is one container of a pod.
type Container struct {
	// name of the container; user-container by default.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	// +kubebuilder:validation:XValidation:rule="self != 'queue-proxy'",message="\"queue-proxy\" is a reserved container name"
	Name string `json:"name,omitempty"`
	// image to run.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// command replaces the image's entry point.
	// +optional
	Command []string `json:"command,omitempty"`
	// args replace the image's arguments.
	// +optional
	Args []string `json:"args,omitempty"`
	// workingDir of the process.
	// +optional
	WorkingDir string `json:"workingDir,omitempty"`
	// ports has at most one entry: where the container takes requests; 8080 by default.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="size(self) <= 1",message="More than one container port is set: only a single port is allowed"
	Ports []ContainerPort `json:"ports,omitempty"`
	// env is the environment of the process.
	// +optional
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:XValidation:rule="!(self.name in ['K_SERVICE', 'K_CONFIGURATION', 'K_REVISION', 'SLUICE_RUNTIME'])",messageExpression="'\"' + self.name + '\" is a reserved environment variable'",fieldPath=".name"
	Env []EnvVar `json:"env,omitempty"`
	// envFrom adds all entries of configmaps and secrets to the environment.
	// +optional
	EnvFrom []EnvFromSource `json:"envFrom,omitempty"`
	// resources that the container needs and may use.
	// +optional
	Resources ResourceRequirements `json:"resources,omitzero"`
	// volumeMounts say where volumes appear.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=mountPath
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
	// livenessProbe restarts the container when it fails.
	// +optional
	// +kubebuilder:validation:XValidation:rule="[has(self.httpGet), has(self.tcpSocket), has(self.exec), has(self.grpc)].exists_one(h, h)",message="expected exactly one of httpGet, tcpSocket, exec and grpc"
	LivenessProbe *Probe `json:"livenessProbe,omitempty"`
	// readinessProbe keeps requests away while it fails; a TCP connection by default.
	// +optional
	// +kubebuilder:validation:XValidation:rule="[has(self.httpGet), has(self.tcpSocket), has(self.exec), has(self.grpc)].filter(h, h).size() <= 1",message="expected at most one of httpGet, tcpSocket, exec and grpc"
	// +kubebuilder:validation:XValidation:rule="self.?periodSeconds.orValue(0) != 0 || self.?failureThreshold.orValue(0) == 0",message="failureThreshold is disallowed when periodSeconds is zero"
	// +kubebuilder:validation:XValidation:rule="self.?periodSeconds.orValue(0) != 0 || self.?timeoutSeconds.orValue(0) == 0",message="timeoutSeconds is disallowed when periodSeconds is zero"
	ReadinessProbe *Probe `json:"readinessProbe,omitempty"`
	// startupProbe holds back the others until it succeeds.
	// +optional
	// +kubebuilder:validation:XValidation:rule="[has(self.httpGet), has(self.tcpSocket), has(self.exec), has(self.grpc)].exists_one(h, h)",message="expected exactly one of httpGet, tcpSocket, exec and grpc"
	StartupProbe *Probe `json:"startupProbe,omitempty"`
	// imagePullPolicy is Always, IfNotPresent or Never.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`
	// terminationMessagePath is the file with the container's termination message.
	// +optional
	TerminationMessagePath string `json:"terminationMessagePath,omitempty"`
	// terminationMessagePolicy is File or FallbackToLogsOnError.
	// +optional
	// +kubebuilder:validation:Enum=File;FallbackToLogsOnError
	TerminationMessagePolicy corev1.TerminationMessagePolicy `json:"terminationMessagePolicy,omitempty"`
	// securityContext of the process.
	// +optional
	SecurityContext *SecurityContext `json:"securityContext,omitempty"`
}

// ContainerPort is where a container takes requests.
type ContainerPort struct {
	// name is the protocol: http1 (the default) or h2c.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self in ['', 'http1', 'h2c']",messageExpression="'Port name ' + self + ' is not allowed: name must be empty, or one of: h2c, http1'"
	Name string `json:"name,omitempty"`
	// containerPort is 0 to 65535; 0 means 8080.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +kubebuilder:validation:XValidation:rule="!(self in [8008, 8012, 8013, 8022, 9090, 9091])",messageExpression="'%d is a reserved port'.format([self])"
	ContainerPort int32 `json:"containerPort,omitempty"`
	// protocol is TCP.
	// +optional
	// +kubebuilder:validation:Enum=TCP
	Protocol corev1.Protocol `json:"protocol,omitempty"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	// name of the variable.
	// +required
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name,omitempty"`
	// value of the variable.
	// +optional
	Value string `json:"value,omitempty"`
	// valueFrom is where the value is kept.
	// +optional
	ValueFrom *EnvVarSource `json:"valueFrom,omitempty"`
}

// EnvVarSource is where a value is kept: exactly one of the two.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type EnvVarSource struct {
	// configMapKeyRef is an entry of a configmap.
	// +optional
	ConfigMapKeyRef *corev1.ConfigMapKeySelector `json:"configMapKeyRef,omitempty"`
	// secretKeyRef is an entry of a secret.
	// +optional
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// EnvFromSource is a configmap or secret, all entries of which are variables.
type EnvFromSource struct {
	// prefix of the variables' names.
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// configMapRef is a configmap.
	// +optional
	ConfigMapRef *corev1.ConfigMapEnvSource `json:"configMapRef,omitempty"`
	// secretRef is a secret.
	// +optional
	SecretRef *corev1.SecretEnvSource `json:"secretRef,omitempty"`
}

// ResourceRequirements are what a container needs and may use.
type ResourceRequirements struct {
	// limits are the most that the container may use.
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
	// requests are reserved for the container.
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`
}

// VolumeMount is where a volume appears in a container.
type VolumeMount struct {
	// name of the volume.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
	// mountPath is absolute.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') && !(self in ['/', '/dev', '/dev/', '/dev/log', '/dev/log/'])",messageExpression="'mountPath \"' + self + '\" must be absolute and not one of the reserved paths /, /dev and /dev/log'"
	MountPath string `json:"mountPath,omitempty"`
	// subPath within the volume.
	// +optional
	SubPath string `json:"subPath,omitempty"`
	// readOnly is always true for configmaps, secrets and projected volumes.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
}

// Probe is a health check with exactly one handler; a readiness probe without one tries a TCP connection.
type Probe struct {
	// httpGet succeeds when it answers 200 to 399.
	// +optional
	HTTPGet *HTTPGetAction `json:"httpGet,omitempty"`
	// tcpSocket succeeds when it connects.
	// +optional
	TCPSocket *TCPSocketAction `json:"tcpSocket,omitempty"`
	// exec succeeds when the command exits with 0.
	// +optional
	Exec *corev1.ExecAction `json:"exec,omitempty"`
	// grpc asks the gRPC health service.
	// +optional
	GRPC *GRPCAction `json:"grpc,omitempty"`
	// initialDelaySeconds before the first probe.
	// +optional
	// +kubebuilder:validation:Minimum=0
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`
	// timeoutSeconds of one probe.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
	// periodSeconds between probes; 0 in a readiness probe means as often as is useful.
	// +optional
	// +kubebuilder:validation:Minimum=0
	PeriodSeconds int32 `json:"periodSeconds,omitempty"`
	// successThreshold is how many successes in a row make it ready.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SuccessThreshold int32 `json:"successThreshold,omitempty"`
	// failureThreshold is how many failures in a row make it fail.
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailureThreshold int32 `json:"failureThreshold,omitempty"`
}

// HTTPGetAction is a GET request to the container.
type HTTPGetAction struct {
	// path of the request.
	// +optional
	Path string `json:"path,omitempty"`
	// port by number or name; the container's port by default.
	// +optional
	Port intstr.IntOrString `json:"port,omitzero"`
	// host is the Host header.
	// +optional
	Host string `json:"host,omitempty"`
	// scheme is HTTP or HTTPS.
	// +optional
	Scheme corev1.URIScheme `json:"scheme,omitempty"`
	// httpHeaders are added to the request.
	// +optional
	HTTPHeaders []corev1.HTTPHeader `json:"httpHeaders,omitempty"`
}

// TCPSocketAction is a connection to the container.
type TCPSocketAction struct {
	// port by number or name; the container's port by default.
	// +optional
	Port intstr.IntOrString `json:"port,omitzero"`
	// host to connect to; the pod by default.
	// +optional
	Host string `json:"host,omitempty"`
}

// GRPCAction is a call of the gRPC health service.
type GRPCAction struct {
	// port by number; the container's port by default.
	// +optional
	Port int32 `json:"port,omitempty"`
	// service to ask about.
	// +optional
	Service *string `json:"service,omitempty"`
}

// SecurityContext is the part of a container's security context that Knative lets through.
type SecurityContext struct {
	// capabilities to drop and to add.
	// +optional
	Capabilities *corev1.Capabilities `json:"capabilities,omitempty"`
	// runAsUser is a user id.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RunAsUser *int64 `json:"runAsUser,omitempty"`
	// runAsGroup is a group id.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	RunAsGroup *int64 `json:"runAsGroup,omitempty"`
	// runAsNonRoot refuses to run as root.
	// +optional
	RunAsNonRoot *bool `json:"runAsNonRoot,omitempty"`
	// readOnlyRootFilesystem makes the image read-only.
	// +optional
	ReadOnlyRootFilesystem *bool `json:"readOnlyRootFilesystem,omitempty"`
	// allowPrivilegeEscalation lets a process gain more than its parent has.
	// +optional
	AllowPrivilegeEscalation *bool `json:"allowPrivilegeEscalation,omitempty"`
	// seccompProfile filters system calls.
	// +optional
	SeccompProfile *corev1.SeccompProfile `json:"seccompProfile,omitempty"`
}
