package autoscalingv1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KindScalerBinding is the kind of ScalerBinding.
const KindScalerBinding = "ScalerBinding"

// ScalerBinding scales Services by figures from outside: an external scaler of KEDA's contract, or a query of Prometheus. The count that
// it asks for is one of several: the load and other signals ask too, and the largest count within the bounds of the revision wins.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=scalerbindings,shortName=sb,categories={all,sluice}
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:printcolumn:name="Active",type=boolean,JSONPath=`.status.active`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.status.replicas`
// +kubebuilder:printcolumn:name="Value",type=string,JSONPath=`.status.metrics[0].value`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ScalerBinding struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec ScalerBindingSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status ScalerBindingStatus `json:"status,omitzero"`
}

// ScalerBindingSpec says which Services follow which figures, and how.
//
// +kubebuilder:validation:XValidation:rule="has(self.external) != has(self.prometheus)",message="want one of external and prometheus"
// +kubebuilder:validation:XValidation:rule="!has(self.prometheus) || has(self.targetValue)",message="prometheus needs targetValue: the value that one replica should have"
// +kubebuilder:validation:XValidation:rule="has(self.services) && size(self.services) > 0 || has(self.selector)",message="want services by name, a selector of their labels, or both"
type ScalerBindingSpec struct {
	// services are the names of the Services (serving.knative.dev) in this namespace that follow the figures.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Services []string `json:"services,omitempty"`
	// selector selects further Services by their labels. An empty one selects all Services of the namespace.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// external is a server of KEDA's contract for external scalers.
	// +optional
	External *ExternalScaler `json:"external,omitempty"`
	// prometheus is a query of a Prometheus server.
	// +optional
	Prometheus *PrometheusQuery `json:"prometheus,omitempty"`
	// targetValue is the value that one replica should have; with metricType Value the one of all replicas together. An external scaler
	// names its own, which this one replaces.
	// +optional
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self > 0 : quantity(string(self)).isGreaterThan(quantity('0'))",message="want more than 0"
	TargetValue *resource.Quantity `json:"targetValue,omitempty"`
	// metricType says how a value becomes a count: AverageValue is the value over the target, Value their ratio times the ready replicas.
	// +optional
	// +kubebuilder:default=AverageValue
	// +kubebuilder:validation:Enum=AverageValue;Value
	MetricType string `json:"metricType,omitempty"`
	// pollingSeconds is the time between two questions, in seconds.
	// +optional
	// +kubebuilder:default=30
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	PollingSeconds int32 `json:"pollingSeconds,omitempty"`
	// stabilizationWindowSeconds is how long a larger count stays after the figures ask for less, in seconds.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	StabilizationWindowSeconds *int32 `json:"stabilizationWindowSeconds,omitempty"`
	// maxReplicas is the largest count that this binding asks for, whatever the figures are.
	// +optional
	// +kubebuilder:default=100
	// +kubebuilder:validation:Minimum=1
	MaxReplicas int32 `json:"maxReplicas,omitempty"`
	// fallback counts while the figures are missing. Without it what runs stays.
	// +optional
	Fallback *Fallback `json:"fallback,omitempty"`
}

// ExternalScaler is a server of KEDA's contract (gRPC service externalscaler.ExternalScaler).
type ExternalScaler struct {
	// address of the server, host:port.
	// +required
	// +kubebuilder:validation:MaxLength=260
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?|[[][0-9A-Fa-f:.]+[]]):[1-9][0-9]{0,4}$')",message="want host:port, such as scaler.default.svc:9090"
	Address string `json:"address"`
	// metadata are the settings of the scaler, which it is sent with each call.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Metadata map[string]string `json:"metadata,omitempty"`
	// tls says how the server proves who it is. Without it the server needs a certificate that the system's authorities have signed.
	// +optional
	TLS *ScalerTLS `json:"tls,omitempty"`
}

// ScalerTLS says how the two sides of a connection prove who they are.
//
// +kubebuilder:validation:XValidation:rule="self.?mode.orValue('Verify') != 'Plaintext' || !has(self.caBundle) && !has(self.secretName) && !has(self.serverName)",message="mode Plaintext has no certificates: leave out caBundle, secretName and serverName"
type ScalerTLS struct {
	// mode is Verify, or Plaintext for a connection without TLS, which whoever is on the way can read and change.
	// +optional
	// +kubebuilder:validation:Enum=Verify;Plaintext
	Mode string `json:"mode,omitempty"`
	// caBundle are the authorities of the server's certificate, as PEM; none means those of the system.
	// +optional
	// +kubebuilder:validation:MaxLength=65536
	CABundle string `json:"caBundle,omitempty"`
	// serverName is the name in the server's certificate; none means the host of the address.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
	// secretName is the name of a Secret of the type kubernetes.io/tls in this namespace with the certificate of the client.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
}

// PrometheusQuery is an instant query that returns one number.
type PrometheusQuery struct {
	// address of the Prometheus server, a URL.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^\\\\s/?#@]+(/[^\\\\s?#@]*)?$') && isURL(self)",message="want a URL without user, query and fragment, such as http://prometheus.monitoring.svc:9090"
	Address string `json:"address"`
	// query in PromQL.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Query string `json:"query"`
	// tls says how a server at an https address proves who it is.
	// +optional
	TLS *ScalerTLS `json:"tls,omitempty"`
}

// Fallback is what counts while there are no figures.
type Fallback struct {
	// failureThreshold is after how many failures in a row the fallback counts.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	FailureThreshold int32 `json:"failureThreshold"`
	// replicas is the least count then. It ends no replica.
	// +required
	// +kubebuilder:validation:Minimum=0
	Replicas int32 `json:"replicas"`
}

// ScalerBindingStatus is what the figures were last.
type ScalerBindingStatus struct {
	// observedGeneration is the metadata.generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions say what is right and what is wrong. Ready is the one.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// active says that the source wants replicas.
	// +optional
	Active *bool `json:"active,omitempty"`
	// activeChanged is when active last changed.
	// +optional
	ActiveChanged *metav1.Time `json:"activeChanged,omitempty"`
	// replicas is the count that the binding asks for; without figures there is none.
	// +optional
	Replicas *int32 `json:"replicas,omitempty"`
	// metrics are the last values.
	// +optional
	// +listType=atomic
	Metrics []MetricStatus `json:"metrics,omitempty"`
	// revisions are those that follow the figures: the ones of the Services that a Route names.
	// +optional
	// +listType=atomic
	Revisions []string `json:"revisions,omitempty"`
}

// MetricStatus is a metric's last value.
type MetricStatus struct {
	// name of the metric.
	// +required
	Name string `json:"name"`
	// value and target, as decimal numbers.
	// +required
	Value string `json:"value"`
	// +required
	Target string `json:"target"`
}

// ScalerBindingList is a list of ScalerBindings.
//
// +kubebuilder:object:root=true
type ScalerBindingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ScalerBinding `json:"items"`
}
