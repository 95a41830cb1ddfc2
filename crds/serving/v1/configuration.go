package servingv1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Configuration keeps the newest template; each new one makes a new Revision.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=configurations,shortName={config,cfg},categories={all,knative,serving}
// +kubebuilder:printcolumn:name="LatestCreated",type=string,JSONPath=`.status.latestCreatedRevisionName`
// +kubebuilder:printcolumn:name="LatestReady",type=string,JSONPath=`.status.latestReadyRevisionName`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=='Ready')].reason`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name is not a DNS 1035 label: up to 63 lower-case letters, digits and dashes, the first a letter"
// +kubebuilder:validation:XValidation:rule="self.spec.template.?metadata.?name.orValue(\"\") == \"\" || self.spec.template.metadata.name.startsWith(self.metadata.name + '-')",messageExpression="'\"' + self.spec.template.metadata.name + '\" must have prefix \"' + self.metadata.name + '-\"'",fieldPath=".spec.template.metadata.name"
type Configuration struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the user wants.
	// +required
	Spec ConfigurationSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status ConfigurationStatus `json:"status,omitzero"`
}

// ConfigurationSpec is the newest template.
type ConfigurationSpec struct {
	// template of the next revision. Changing it makes a new revision.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf || self.?metadata.?name.orValue('') == '' || self.metadata.name != oldSelf.?metadata.?name.orValue('')",message="Saw the following changes without a name change (-old +new)",fieldPath=".metadata.name"
	Template RevisionTemplate `json:"template,omitzero"`
}

// RevisionTemplate is what a Revision is made from.
type RevisionTemplate struct {
	// metadata is given to the revision.
	// +optional
	Metadata TemplateMeta `json:"metadata,omitzero"`
	// spec is given to the revision.
	// +required
	Spec RevisionSpec `json:"spec,omitzero"`
}

// TemplateMeta is the metadata that a template may have.
type TemplateMeta struct {
	// name of the revision; generated when empty. It begins with the parent's name and a dash, and changes with the template.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="not a DNS 1035 label: lower-case letters, digits and dashes, the first a letter"
	Name string `json:"name,omitempty"`
	// labels are given to the revision.
	// +optional
	// +kubebuilder:validation:MaxProperties=200
	Labels map[string]string `json:"labels,omitempty"`
	// annotations are given to the revision; autoscaling is configured here.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!('serving.knative.dev/progress-deadline' in self) || (self['serving.knative.dev/progress-deadline'].matches('^([0-9]+(\\\\.[0-9]+)?(ns|us|ms|s|m|h))+$') && int(duration(self['serving.knative.dev/progress-deadline'])) % 1000000000 == 0)",message="serving.knative.dev/progress-deadline must be a duration of whole seconds that is not negative, such as 90s"
	Annotations TemplateAnnotations `json:"annotations,omitempty"`
	// creationTimestamp is accepted, because tools print it, and means nothing.
	// +optional
	// +nullable
	CreationTimestamp *metav1.Time `json:"creationTimestamp,omitempty"`
}

// ConfigurationStatus says which revisions the templates have led to.
type ConfigurationStatus struct {
	Status                    `json:",inline"`
	ConfigurationStatusFields `json:",inline"`
}

// ConfigurationStatusFields are the fields of ConfigurationStatus that a Service repeats.
type ConfigurationStatusFields struct {
	// latestCreatedRevisionName is the last revision made.
	// +optional
	LatestCreatedRevisionName string `json:"latestCreatedRevisionName,omitempty"`
	// latestReadyRevisionName is the newest revision that has been ready; it never goes back.
	// +optional
	LatestReadyRevisionName string `json:"latestReadyRevisionName,omitempty"`
}

// ConfigurationList is a list of Configurations.
//
// +kubebuilder:object:root=true
type ConfigurationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Configuration `json:"items"`
}
