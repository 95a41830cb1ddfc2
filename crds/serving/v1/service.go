package servingv1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Service is one application: its newest template, and how traffic is split between the revisions that came of it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=services,shortName={kservice,ksvc},categories={all,knative,serving}
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`
// +kubebuilder:printcolumn:name="LatestCreated",type=string,JSONPath=`.status.latestCreatedRevisionName`
// +kubebuilder:printcolumn:name="LatestReady",type=string,JSONPath=`.status.latestReadyRevisionName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is not a DNS 1035 label: up to 63 lower-case letters, digits and dashes, the first a letter"
// +kubebuilder:validation:XValidation:rule="self.spec.template.?metadata.?name.orValue(\"\") == \"\" || self.spec.template.metadata.name.startsWith(self.metadata.name + '-')",messageExpression="'\"' + self.spec.template.metadata.name + '\" must have prefix \"' + self.metadata.name + '-\"'",fieldPath=".spec.template.metadata.name"
type Service struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec ServiceSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status ServiceStatus `json:"status,omitzero"`
}

// ServiceSpec is what the user wants of a Service.
type ServiceSpec struct {
	ConfigurationSpec `json:",inline"`
	// traffic splits requests between revisions; percents sum to 100. All to the latest ready revision by default.
	// +optional
	// +kubebuilder:default={{latestRevision: true, percent: 100}}
	// +kubebuilder:validation:XValidation:rule="self.all(t, !has(t.configurationName) || t.configurationName == '')",message="must not set the field(s): configurationName"
	Traffic Traffic `json:"traffic,omitempty"`
}

// ServiceStatus is what the Service's Configuration and Route report.
type ServiceStatus struct {
	Status                    `json:",inline"`
	ConfigurationStatusFields `json:",inline"`
	RouteStatusFields         `json:",inline"`
}

// ServiceList is a list of Services.
//
// +kubebuilder:object:root=true
type ServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Service `json:"items"`
}
