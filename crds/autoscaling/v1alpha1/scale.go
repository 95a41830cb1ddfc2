package autoscalingv1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// KindRevisionScale is the kind of a RevisionScale.
const KindRevisionScale = "RevisionScale"

// RevisionScale is the scale of one Revision whose class of autoscaler Sluice does not know. Sluice makes one for each such Revision, with
// its name and owned by it; whoever the class belongs to writes the replicas, through the subresource scale.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:path=revisionscales,shortName=rscale
// +kubebuilder:selectablefield:JSONPath=`.spec.class`
// +kubebuilder:printcolumn:name="Class",type=string,JSONPath=`.spec.class`
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=`.spec.replicas`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.replicas`
type RevisionScale struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec is what the owner of the class wants.
	// +required
	Spec RevisionScaleSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status RevisionScaleStatus `json:"status,omitzero"`
}

// RevisionScaleSpec is how many replicas there should be.
type RevisionScaleSpec struct {
	// class of the Revision's autoscaler: its annotation autoscaling.knative.dev/class.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Class string `json:"class"`
	// replicas that the owner of the class wants, within the bounds of min-scale and max-scale. Before it is written it is how many the
	// Revision began with.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Replicas int32 `json:"replicas"`
}

// RevisionScaleStatus is how many replicas there are.
type RevisionScaleStatus struct {
	// replicas that are ready.
	// +optional
	Replicas int32 `json:"replicas"`
	// selector of the pods of the Revision in a cluster, as labels in text.
	// +optional
	Selector string `json:"selector,omitempty"`
}

// RevisionScaleList is a list of RevisionScales.
//
// +kubebuilder:object:root=true
type RevisionScaleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RevisionScale `json:"items"`
}
