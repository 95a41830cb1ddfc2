package servingv1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ConditionSeverity says whether a condition that is not True matters to Ready.
type ConditionSeverity string

// The severities of conditions.
const (
	// SeverityError is the default: the condition must be True for the object to be Ready.
	SeverityError ConditionSeverity = ""
	// SeverityInfo is a condition that does not affect Ready.
	SeverityInfo ConditionSeverity = "Info"
)

// The types of conditions.
const (
	// ConditionReady of every kind sums up the others.
	ConditionReady = "Ready"
	// ConditionConfigurationsReady and ConditionRoutesReady are a Service's.
	ConditionConfigurationsReady = "ConfigurationsReady"
	ConditionRoutesReady         = "RoutesReady"
	// ConditionAllTrafficAssigned, ConditionIngressReady and ConditionCertificateProvisioned are a Route's.
	ConditionAllTrafficAssigned     = "AllTrafficAssigned"
	ConditionIngressReady           = "IngressReady"
	ConditionCertificateProvisioned = "CertificateProvisioned"
	// ConditionResourcesAvailable, ConditionContainerHealthy and ConditionActive (of severity Info) are a Revision's.
	ConditionResourcesAvailable = "ResourcesAvailable"
	ConditionContainerHealthy   = "ContainerHealthy"
	ConditionActive             = "Active"
)

// Condition is one statement about an object.
type Condition struct {
	// type names the statement, in CamelCase.
	// +required
	Type string `json:"type"`
	// status is True, False or Unknown.
	// +required
	Status metav1.ConditionStatus `json:"status"`
	// severity is empty for conditions that Ready depends on, Info for others.
	// +optional
	Severity ConditionSeverity `json:"severity,omitempty"`
	// lastTransitionTime is when status last changed.
	// +optional
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitzero"`
	// reason is one word in CamelCase.
	// +optional
	Reason string `json:"reason,omitempty"`
	// message is a sentence for people.
	// +optional
	Message string `json:"message,omitempty"`
}

// Status is what the status of every kind begins with.
type Status struct {
	// observedGeneration is the metadata.generation that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions say what is right and what is wrong; Ready sums them up.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []Condition `json:"conditions,omitempty"`
	// annotations of the status, for values that have no field.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Condition returns the condition of the given type, or nil.
func (s *Status) Condition(conditionType string) *Condition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == conditionType {
			return &s.Conditions[i]
		}
	}
	return nil
}

// Addressable is where an object can be reached from within the cluster.
type Addressable struct {
	// url of the cluster-local address.
	// +optional
	URL string `json:"url,omitempty"`
}
