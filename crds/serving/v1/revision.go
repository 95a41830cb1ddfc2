package servingv1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Revision is one immutable version of the code and its configuration.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=revisions,shortName=rev,categories={all,knative,serving}
// +kubebuilder:printcolumn:name="Config Name",type=string,JSONPath=`.metadata.labels['serving\.knative\.dev/configuration']`
// +kubebuilder:printcolumn:name="Generation",type=string,JSONPath=`.metadata.labels['serving\.knative\.dev/configurationGeneration']`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:printcolumn:name="Actual Replicas",type=integer,JSONPath=`.status.actualReplicas`
// +kubebuilder:printcolumn:name="Desired Replicas",type=integer,JSONPath=`.status.desiredReplicas`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is not a DNS 1035 label: up to 63 lower-case letters, digits and dashes, the first a letter"
type Revision struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what runs. It never changes.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="Immutable fields changed (-old +new)"
	Spec RevisionSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status RevisionStatus `json:"status,omitzero"`
}

// Images returns the image of each container and init container as the spec names it, by the container's name.
func (r *Revision) Images() map[string]string {
	spec := r.Spec.DeepCopy()
	spec.SetDefaults() // which names containers
	images := map[string]string{}
	for _, c := range spec.Containers {
		images[c.Name] = c.Image
	}
	for _, c := range spec.InitContainers {
		images[c.Name] = c.Image
	}
	return images
}

// RevisionSpec is a pod spec and the limits of requests.
type RevisionSpec struct {
	PodSpec `json:",inline"`
	// containerConcurrency is how many requests one replica may have at a time; 0, the default, means no limit. config-defaults has the
	// highest value: 1000 by default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	ContainerConcurrency *int64 `json:"containerConcurrency,omitempty"`
	// timeoutSeconds is how long a request may take; 300 by default and when 0. config-defaults has the highest value: 600 by default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	TimeoutSeconds *int64 `json:"timeoutSeconds,omitempty"`
	// responseStartTimeoutSeconds is how long a request may take to its first response byte; none by default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	ResponseStartTimeoutSeconds *int64 `json:"responseStartTimeoutSeconds,omitempty"`
	// idleTimeoutSeconds is how long a request may go without a byte written; none by default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	IdleTimeoutSeconds *int64 `json:"idleTimeoutSeconds,omitempty"`
}

// RevisionStatus is how the Revision runs.
type RevisionStatus struct {
	Status `json:",inline"`
	// logUrl is where its logs are.
	// +optional
	LogURL string `json:"logUrl,omitempty"`
	// containerStatuses has the resolved image of each container.
	// +optional
	ContainerStatuses []ContainerStatus `json:"containerStatuses,omitempty"`
	// initContainerStatuses has the resolved image of each init container.
	// +optional
	InitContainerStatuses []ContainerStatus `json:"initContainerStatuses,omitempty"`
	// actualReplicas is how many replicas are ready.
	// +optional
	ActualReplicas *int32 `json:"actualReplicas,omitempty"`
	// desiredReplicas is how many replicas are wanted.
	// +optional
	DesiredReplicas *int32 `json:"desiredReplicas,omitempty"`
}

// ContainerStatus is the image that a container runs.
type ContainerStatus struct {
	// name of the container.
	// +optional
	Name string `json:"name,omitempty"`
	// imageDigest is the image by digest.
	// +optional
	ImageDigest string `json:"imageDigest,omitempty"`
}

// RevisionList is a list of Revisions.
//
// +kubebuilder:object:root=true
type RevisionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Revision `json:"items"`
}
